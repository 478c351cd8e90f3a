import type { DataSource } from 'typeorm';
import {
  clientsOf,
  cutOff,
  followTransactions,
  isOpening,
  requirePgParts,
} from '../peers/pg.internals.js';
import type { PgClient, PgPool } from '../peers/pg.internals.js';
import { requireValidatorParts } from '../peers/class-validator.internals.js';
import { holdersOf, onEachPool, poolsOf, requireTypeormParts } from '../peers/typeorm.internals.js';

/** Whether no connection of the pool is in use, being opened or waited for. */
export const isIdle = ({ totalCount, idleCount, waitingCount }: PgPool): boolean =>
  totalCount === idleCount && waitingCount === 0;

/** Gives up connections that are being opened: a server that vanished is waited for until that times out. */
export function abandonOpening(pool: PgPool): void {
  for (const client of clientsOf(pool).filter(isOpening)) cutOff(client);
}

/** How long, in ms, a server may take to answer the last that is said to it. */
const FAREWELL_MS = 2_000;

/**
 * Waits for the last words on a connection, such as a rollback; not for ever, as `pg` would where the
 * server has vanished, or its end of the connection is over and nobody tells.
 */
export async function partingWords(client: PgClient, words: Promise<unknown>): Promise<void> {
  const timer = setTimeout(() => cutOff(client), FAREWELL_MS);
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
  await Promise.all([...holdersOf(dataSource)].map((queryRunner) => queryRunner.release()));
  await Promise.all(poolsOf(dataSource).map((pool) => pool.end()));
}

const preparedSources = new WeakSet<DataSource>();

/**
 * Makes a data source ready for this package.
 *
 * It keeps the process alive when a server ends a connection with the very bytes that open it, as one
 * does that shuts down: `pg` emits that error before TypeORM, which gets the connection a moment later,
 * can listen for it, and an `error` event that nobody hears ends the process. Who uses the connection
 * is told by the error of the statement.
 *
 * @param dataSource - also one that is not initialized yet: its first connections are no safer
 * @throws ConfigurationError if TypeORM, `pg` or class-validator lacks a part that this package uses
 */
export function prepareDataSource(dataSource: DataSource): void {
  if (preparedSources.has(dataSource)) return;
  requireTypeormParts(dataSource);
  requireValidatorParts();
  preparedSources.add(dataSource);
  onEachPool(dataSource, preparePool);
}

/** Makes a pool of connections to the same server as another pool's, with the same login. */
export function poolLike(pool: PgPool, settings: object): PgPool {
  const Pool = pool.constructor as new (options: object) => PgPool;
  // `pg-pool` hides the password from being copied.
  const { password } = pool.options;
  const made = new Pool({ ...pool.options, password, ...settings });
  preparePool(made);
  // What ends an idle connection is told by the statement that needs another one.
  made.on('error', () => {});
  return made;
}

const inUse = new WeakMap<PgPool, Set<PgClient>>();

/** The clients of a pool that somebody has taken, since the pool was prepared. */
export const clientsInUse = (pool: PgPool): ReadonlySet<PgClient> => inUse.get(pool) ?? new Set();

const prepared = new WeakSet<PgClient>();

/** Does for a client what {@link preparePool} does for those that are opened later. */
export function prepareClient(client: PgClient): void {
  if (prepared.has(client)) return;
  prepared.add(client);
  client.on('error', () => {});
  followTransactions(client);
}

/** Does for a pool what {@link prepareDataSource} does for all those of a data source. */
export function preparePool(pool: PgPool): void {
  if (inUse.has(pool)) return;
  requirePgParts(pool);
  const taken = new Set<PgClient>();
  inUse.set(pool, taken);
  pool.on('acquire', (client) => taken.add(client));
  pool.on('release', (_, client) => taken.delete(client));
  pool.on('connect', prepareClient);
}

/** Takes a connection from a pool. */
export const openClient = (pool: PgPool): Promise<PgClient> =>
  new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (error) reject(error);
      else resolve(client);
    });
  });
