import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';

type Ssl = PostgresDataSourceOptions['ssl'];

/**
 * What is wrong with a connection URL. No message shows any of it: it may hold a password. One whose
 * special characters are not encoded may still parse, with a part of the password as the host's name.
 *
 * @param name - where it was found, such as `DATABASE_URL`
 */
export function urlProblems(name: string, url: unknown): string[] {
  return isPostgresUrl(url)
    ? []
    : [
        `${name} is not a PostgreSQL URL: write it as postgres://user:password@host:5432/name, ` +
          `with special characters of the password percent-encoded`,
      ];
}

function isPostgresUrl(value: unknown): value is string {
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
 * Whether a URL and an option ask for different encryption. The driver would obey the URL alone: it
 * would drop a certificate authority, or send in clear what the option meant to encrypt.
 *
 * @param option - the option's name in the message
 */
export function sslProblems(name: string, url: unknown, option: string, ssl: Ssl): string[] {
  if (ssl === undefined || !isPostgresUrl(url)) return [];
  const asked = sslOf(new URL(url).searchParams);
  return asked === undefined || asked === ssl
    ? []
    : [
        `${name} has parameters for TLS that contradict ${option}: remove one of them ` +
          `(the driver would obey the URL)`,
      ];
}

/** What the parameters of a URL mean to the driver; `null` for more than on or off. */
function sslOf(parameters: URLSearchParams): boolean | null | undefined {
  const names = ['ssl', 'sslmode', 'sslcert', 'sslkey', 'sslrootcert'];
  const given = names.filter((name) => parameters.has(name));
  if (given.length === 0) return undefined;
  if (given.length > 1) return null;
  const value = parameters.get('ssl') ?? parameters.get('sslmode') ?? '';
  if (['disable', 'false', '0'].includes(value)) return false;
  return ['true', '1', 'require', 'verify-full'].includes(value) ? true : null;
}

/** A port number, as a number or as its digits: configuration services return strings. */
export function isPort(value: unknown): boolean {
  const port = typeof value === 'string' && /^\d{1,5}$/.test(value) ? Number(value) : value;
  return Number.isInteger(port) && Number(port) >= 1 && Number(port) <= 65_535;
}
