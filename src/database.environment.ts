import type { PostgresOptions } from './peers/typeorm.internals.js';
import type { ConnectionUrl } from './database.url.js';
import { isPort, readUrl, sslProblems } from './database.url.js';

/**
 * Reads the connection from the environment: from `DATABASE_URL`, or from `DB_HOST`, `DB_PORT`, `DB_USER`,
 * `DB_PASSWORD` and `DB_NAME`. In both cases it also reads `DB_SSL`. An empty variable counts as not set. It does
 * not check variables that it does not use, because Kubernetes sets `DB_PORT` for a service named `db`.
 *
 * @param ssl - the option, which has priority over `DB_SSL`
 * @param problems - gets a message for each variable that is missing or wrong, without the value of any secret
 */
export function connectionFrom(
  env: NodeJS.ProcessEnv,
  ssl: PostgresOptions['ssl'],
  problems: string[],
): Partial<PostgresOptions> & Partial<ConnectionUrl> {
  const get = (name: string): string | undefined => (env[name] === '' ? undefined : env[name]);
  const wanted = get('DB_SSL');
  if (wanted !== undefined && wanted !== 'true' && wanted !== 'false') {
    problems.push(`DB_SSL is '${wanted}': set it to true or false`);
  }
  const tls = ssl ?? (wanted === undefined ? undefined : wanted === 'true');
  const secure = tls === undefined ? {} : { ssl: tls };
  const url = get('DATABASE_URL');
  if (url !== undefined) {
    const option = ssl === undefined ? 'DB_SSL' : '`ssl`';
    const read = readUrl('DATABASE_URL', url, problems);
    if (read !== undefined) problems.push(...sslProblems('DATABASE_URL', read.url, option, tls));
    return { ...read, ...secure };
  }
  const host = get('DB_HOST');
  const port = get('DB_PORT');
  if (host === undefined) {
    problems.push(
      'no connection is configured: set DATABASE_URL (postgres://user:password@host:5432/name) or ' +
        'DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME, or give `url` to forRoot',
    );
  } else {
    // Without them, the driver would use the name of the process's user for both.
    const missing = ['DB_USER', 'DB_NAME'].filter((name) => get(name) === undefined);
    if (missing.length > 0) {
      problems.push(
        `DB_HOST is set, but not ${missing.join(' and ')}: set DB_USER and DB_NAME too`,
      );
    }
    if (port !== undefined && !isPort(port)) {
      problems.push(`DB_PORT is '${port}': set it to a port number from 1 to 65535`);
    }
  }
  return {
    host,
    port: Number(port ?? 5432),
    username: get('DB_USER'),
    password: get('DB_PASSWORD'),
    database: get('DB_NAME'),
    ...secure,
  };
}

/** The values of PGSSLMODE that the driver knows. With any other value it would switch TLS off. */
const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'];

/**
 * Checks PGSSLMODE, the driver's own variable for TLS. The driver reads it if no option, no DB_SSL and no URL says
 * whether to use TLS.
 */
export function sslModeProblems(env: NodeJS.ProcessEnv): string[] {
  const mode = env['PGSSLMODE'] ?? '';
  return ['', ...SSL_MODES].includes(mode)
    ? []
    : [`PGSSLMODE is '${mode}': set it to ${SSL_MODES.join(' or ')}`];
}
