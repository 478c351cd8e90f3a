import type { PostgresOptions } from '../peers/typeorm.internals.js';

/** Names the server and database of a data source for a message, such as `db:5432/app`; no secrets. */
export function serverName(options: PostgresOptions): string {
  const { url, host, port, database } = options.replication?.master ?? options;
  if (url !== undefined && URL.canParse(url)) {
    const parsed = new URL(url);
    // A socket directory is given as ?host=/var/run/postgresql.
    const name = parsed.hostname || (parsed.searchParams.get('host') ?? 'localhost');
    return `${name}:${parsed.port || 5432}${decodeURIComponent(parsed.pathname)}`;
  }
  return `${host ?? 'localhost'}:${port ?? 5432}/${database ?? ''}`;
}
