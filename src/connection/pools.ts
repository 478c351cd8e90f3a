import type { DataSource } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';

/** What this package needs of a client of `pg`, which TypeORM hands out untyped. */
export interface PgClient {
  connect(): Promise<unknown>;
  query(text: string): Promise<PgResult | PgResult[]>;
  query(query: PgQuery, callback: (error: Error | null, result: PgResult) => void): void;
  end(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
  /** Not of `pg-native`'s. */
  readonly connection?: { readonly stream: { destroy(): void } };
  /** Private to `pg`: it is being opened. */
  readonly _connecting?: boolean;
}

export interface PgQuery {
  readonly name?: string | undefined;
  readonly text: string;
  readonly values: readonly unknown[];
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
  /** Private to `pg-pool`, which has no other way to those that are being opened. */
  readonly _clients?: readonly PgClient[];
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

/** Gives up connections that are being opened: a server that vanished is waited for until that times out. */
export function abandonOpening({ _clients = [] }: PgPool): void {
  for (const { _connecting, connection } of _clients) {
    if (_connecting === true) connection?.stream.destroy();
  }
}

/** How long, in ms, a server may take to answer the last that is said to it. */
const FAREWELL_MS = 2_000;

/**
 * Waits for the last words on a connection, such as a rollback; not for ever, as `pg` would where the
 * server has vanished, or its end of the connection is over and nobody tells.
 */
export async function partingWords(client: PgClient, words: Promise<unknown>): Promise<void> {
  const timer = setTimeout(() => client.connection?.stream.destroy(), FAREWELL_MS);
  await words.catch(() => {});
  clearTimeout(timer);
}

/** Ends a connection. */
export const endClient = (client: PgClient): Promise<void> => partingWords(client, client.end());

/**
 * Closes what a data source had opened before its initialization failed, which TypeORM leaves open,
 * together with the connection that it was using: a pool waits for that one as long as it is not back.
 */
export async function closeHalfOpen(dataSource: DataSource): Promise<void> {
  const { connectedQueryRunners } = dataSource.driver as PostgresDriver;
  await Promise.all([...connectedQueryRunners].map((queryRunner) => queryRunner.release()));
  await Promise.all(poolsOf(dataSource).map((pool) => pool.end()));
}

/**
 * Keeps the process alive when a server ends a connection with the very bytes that open it, as one
 * does that shuts down: `pg` emits that error before TypeORM, which gets the connection a moment later,
 * can listen for it, and an `error` event that nobody hears ends the process. Who uses the connection
 * is told by the error of the statement.
 *
 * @param dataSource - also one that is not initialized yet: its first connections are no safer
 */
export function surviveEarlyEnds(dataSource: DataSource): void {
  poolsOf(dataSource).forEach(hearEarlyEnds);
  const driver = dataSource.driver as PostgresDriver;
  const { Pool } = driver.postgres as { Pool: new (options: object) => PgPool };
  class HearingPool extends Pool {
    constructor(options: object) {
      super(options);
      hearEarlyEnds(this);
    }
  }
  driver.postgres = Object.create(driver.postgres as object, { Pool: { value: HearingPool } });
}

function hearEarlyEnds(pool: PgPool): void {
  pool.on('connect', (client) => client.on('error', () => {}));
}
