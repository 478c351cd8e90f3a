import type { PostgresOptions } from './peers/typeorm.internals.js';

type Ssl = PostgresOptions['ssl'];

/** The parts of a connection's URL. */
export interface ConnectionUrl {
  /** The URL as TypeORM and `pg` both read it. */
  readonly url: string;
  /** The parameter `schema`. It becomes an option, because the driver does not know it. */
  readonly schema?: string;
}

/** The parameters that `pg` reads, and two that only `psql` reads, because people share URLs between the two. */
const PARAMETERS = new Set(
  `schema host port user password ssl sslmode sslcert sslkey sslrootcert sslnegotiation
   uselibpqcompat options application_name fallback_application_name client_encoding
   statement_timeout lock_timeout idle_in_transaction_session_timeout query_timeout keepalives
   channel_binding connect_timeout`.split(/\s+/),
);

/** The parameters that switch TLS on or off. With any other word, the driver would switch TLS on. */
const TLS: Readonly<Record<string, readonly string[]>> = {
  ssl: ['true', 'false', '1', '0', 'no-verify'],
  sslmode: ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'],
};

const REMEDIES: Readonly<Record<string, string>> = {
  search_path: 'use `schema`',
  connection_limit: 'use the option `poolSize`',
  pool_timeout: 'use the option `connectTimeoutMS`',
  pgbouncer: 'use the option `preparedStatements`, or DB_PREPARED_STATEMENTS',
};

/**
 * Reads the URL of a connection. No message shows a part of it, because it may contain a password. If the special
 * characters of a password are not encoded, a part of the password may be read as the name of the host.
 *
 * @param name - the place where the URL was found, such as `DATABASE_URL`
 * @param problems - gets a message for each problem
 * @returns undefined if it is no URL of a PostgreSQL
 */
export function readUrl(
  name: string,
  given: unknown,
  problems: string[],
): ConnectionUrl | undefined {
  const url = typeof given === 'string' ? withHost(given) : given;
  if (!isPostgresUrl(url)) {
    problems.push(
      `${name} is not a PostgreSQL URL: write it as postgres://user:password@host:5432/name, ` +
        `with special characters of the password percent-encoded`,
    );
    return undefined;
  }
  const { searchParams } = new URL(url);
  for (const key of new Set(searchParams.keys())) {
    if (PARAMETERS.has(key)) continue;
    const remedy = Object.hasOwn(REMEDIES, key) ? REMEDIES[key] : 'remove it';
    problems.push(`${name} has the parameter ${key}, which the driver does not read: ${remedy}`);
  }
  for (const [key, values] of Object.entries(TLS)) {
    const value = searchParams.get(key);
    if (value !== null && !values.includes(value)) {
      problems.push(`${name} has ${key}=${value}: set it to ${values.join(' or ')}`);
    }
  }
  const schema = searchParams.get('schema') ?? undefined;
  if (schema === '') problems.push(`${name} has an empty schema: remove it for the default one`);
  // The driver would read the word `false` as on.
  return { url: url.replace(/([?&]ssl=)false(?=&|$)/, '$10'), schema };
}

/**
 * Adds a host to a URL that names the folder of a socket (`postgresql://u:p@/db?host=/run`). `pg` accepts such a URL
 * without a host, but Node and TypeORM do not. The parameter `host` has priority over the added host.
 */
export const withHost = (url: string): string =>
  /[?&]host=(\/|%2f)/i.test(url)
    ? url.replace(/^(postgres(?:ql)?:\/\/[^/?#]*@)(:\d+)?\//, '$1localhost$2/')
    : url;

/** Whether a value is a PostgreSQL URL in which all special characters are encoded. */
export function isPostgresUrl(value: unknown): value is string {
  if (typeof value !== 'string' || !/^postgres(ql)?:\/\//.test(value)) return false;
  if (!URL.canParse(value)) return false;
  const { username, password, pathname, search, hash } = new URL(value);
  return (
    /^(\/[^/@]*)?$/.test(pathname) &&
    !search.includes('@') &&
    hash === '' &&
    [username, password, pathname].every(isEncoded)
  );
}

function isEncoded(part: string): boolean {
  try {
    decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

/**
 * Finds out whether a URL and an option ask for different encryption. The driver would obey only the URL. So it
 * could ignore a certificate authority, or send data in clear although the option asks for encryption.
 *
 * @param option - the option's name in the message
 */
export function sslProblems(name: string, url: string, option: string, ssl: Ssl): string[] {
  if (ssl === undefined) return [];
  const asked = sslOf(new URL(url).searchParams);
  return asked === undefined || asked === ssl
    ? []
    : [
        `${name} has parameters for TLS that contradict ${option}: remove one of them ` +
          `(the driver would obey the URL)`,
      ];
}

/** Whether the parameters of a URL switch TLS on or off; `null` if they say more than that. */
function sslOf(parameters: URLSearchParams): boolean | null | undefined {
  const names = ['ssl', 'sslmode', 'sslcert', 'sslkey', 'sslrootcert'];
  const given = names.filter((name) => parameters.has(name));
  if (given.length === 0) return undefined;
  if (given.length > 1) return null;
  const value = parameters.get('ssl') ?? parameters.get('sslmode') ?? '';
  if (['disable', '0'].includes(value)) return false;
  return ['true', '1', 'require', 'verify-full'].includes(value) ? true : null;
}

/**
 * Finds options that TypeORM would ignore or misread, for a data source that the application has opened.
 */
export function misread({ schema, replication, ...single }: PostgresOptions): string[] {
  const servers: Server[] = replication ? [replication.master, ...replication.slaves] : [single];
  const problems = servers.flatMap(({ url, ssl }) => {
    const isMisread = ssl !== undefined && typeof ssl !== 'boolean' && typeof ssl !== 'object';
    const named = schemasOf(url).filter((name) => name !== schema);
    return [
      ...(isMisread
        ? [`\`ssl\` is '${String(ssl)}', which counts as on: give true, false or { ca }`]
        : []),
      ...named.map(
        (name) => `the URL names the schema '${name}', which TypeORM does not read: use \`schema\``,
      ),
    ];
  });
  return [...new Set(problems)];
}

/** What says how to reach one server. */
type Server = Pick<PostgresOptions, 'url' | 'ssl'>;

const schemasOf = (url: unknown): string[] =>
  isPostgresUrl(url) ? new URL(url).searchParams.getAll('schema') : [];

/** Whether a value is a port, as a number or as digits, because configuration services return strings. */
export function isPort(value: unknown): boolean {
  const port = typeof value === 'string' && /^\d{1,5}$/.test(value) ? Number(value) : value;
  return Number.isInteger(port) && Number(port) >= 1 && Number(port) <= 65_535;
}
