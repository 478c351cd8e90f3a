import type { DataSource } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';

/** What this package needs of a client of `pg`, which TypeORM hands out untyped. */
export interface PgClient {
  connect(): Promise<unknown>;
  query(text: string): Promise<PgResult | PgResult[]>;
  query(query: {
    name?: string;
    text: string;
    values: readonly unknown[];
    query_timeout?: number;
  }): Promise<PgResult>;
  end(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
}

export interface PgResult {
  readonly rows: never[];
}

/** What this package needs of a pool of `pg`. */
export interface PgPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly options: { readonly max: number; readonly password?: unknown };
  readonly Client: new (options: object) => PgClient;
  end(): Promise<void>;
  on(event: 'connect', listener: (client: PgClient) => void): unknown;
}

/** The pools that a data source has open: the primary's first, then those of the replicas. */
export function poolsOf(dataSource: DataSource): PgPool[] {
  const { master, slaves } = dataSource.driver as PostgresDriver;
  return [master, ...slaves].filter((pool) => pool !== undefined) as PgPool[];
}

/** Whether nobody uses, opens or waits for a connection of the pool. */
export const isIdle = ({ totalCount, idleCount, waitingCount }: PgPool): boolean =>
  totalCount === idleCount && waitingCount === 0;

/**
 * Keeps the process alive when a server ends a connection with the very bytes that open it, as one
 * does that shuts down: `pg` emits that error before TypeORM, which gets the connection a moment later,
 * can listen for it, and an `error` event that nobody hears ends the process. Who uses the connection
 * is told by the error of the statement.
 */
export function surviveEarlyEnds(dataSource: DataSource): void {
  for (const pool of poolsOf(dataSource))
    pool.on('connect', (client) => client.on('error', () => {}));
}
