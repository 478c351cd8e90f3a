import { isPostgresUrl } from '../database.url.js';
import { ConfigurationError } from '../errors.js';
import type { PostgresOptions } from '../peers/typeorm.internals.js';

/** Names the server and database of a data source for a message, such as `db:5432/app`; no secrets. */
export function serverName(options: PostgresOptions): string {
  const { url, host, port, database } = options.replication?.master ?? options;
  if (url !== undefined) {
    // If the password is not encoded, a part of it may be read as the host, the port or the path.
    if (!isPostgresUrl(url)) return 'the database of `url`, which is no URL of a PostgreSQL';
    const parsed = new URL(url);
    // A socket directory is given as ?host=/var/run/postgresql.
    const name = parsed.hostname || (parsed.searchParams.get('host') ?? 'localhost');
    return `${name}:${parsed.port || 5432}${decodeURIComponent(parsed.pathname)}`;
  }
  return `${host ?? 'localhost'}:${port ?? 5432}/${database ?? ''}`;
}

/**
 * Refuses an address that may be misread. A part of the password could be taken for the name of a host or of a
 * database, and messages show both names.
 *
 * @throws ConfigurationError, whose message shows no part of the address
 */
export function requireAddress(options: PostgresOptions): void {
  const { master, slaves = [] } = options.replication ?? {};
  for (const { url, host, database } of [options, master ?? {}, ...slaves]) {
    if (url !== undefined && !isPostgresUrl(url)) {
      throw new ConfigurationError(
        'The `url` of the data source is not a PostgreSQL URL: write it as ' +
          'postgres://user:password@host:5432/name, with special characters of the password ' +
          'percent-encoded.',
      );
    }
    for (const [name, value] of Object.entries({ host, database })) {
      if (value === undefined || !/:\/\/|@/.test(value)) continue;
      throw new ConfigurationError(
        `The ${name} of the data source looks like a URL or a part of one, not like a name. Give a ` +
          `URL as \`url\` or DATABASE_URL, and the ${name} alone as \`${name}\` or ` +
          `${name === 'host' ? 'DB_HOST' : 'DB_NAME'}.`,
      );
    }
  }
}
