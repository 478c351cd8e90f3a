import { isPostgresUrl } from '../database.url.js';
import type { PostgresOptions } from '../peers/typeorm.internals.js';

/** Names the server and database of a data source for a message, such as `db:5432/app`; no secrets. */
export function serverName(options: PostgresOptions): string {
  const { url, host, port, database } = options.replication?.master ?? options;
  if (url !== undefined) {
    // A part of a password that is not encoded may be read as the host, the port or the path.
    if (!isPostgresUrl(url)) return 'the database of `url`, which is no URL of a PostgreSQL';
    const parsed = new URL(url);
    // A socket directory is given as ?host=/var/run/postgresql.
    const name = parsed.hostname || (parsed.searchParams.get('host') ?? 'localhost');
    return `${name}:${parsed.port || 5432}${decodeURIComponent(parsed.pathname)}`;
  }
  return `${host ?? 'localhost'}:${port ?? 5432}/${database ?? ''}`;
}
