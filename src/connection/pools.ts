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

/** Gives up connections that are being opened. Otherwise a close waits for a vanished server until the timeout. */
export function abandonOpening(pool: PgPool): void {
  for (const client of clientsOf(pool).filter(isOpening)) cutOff(client);
}

/** How long, in ms, a server may take to answer the last message on a connection. */
const FAREWELL_MS = 2_000;

/**
 * Waits for the last message on a connection, such as a rollback, but not for ever. `pg` would wait for ever if
 * the server has vanished.
 */
export async function partingWords(client: PgClient, words: Promise<unknown>): Promise<void> {
  const timer = setTimeout(() => cutOff(client), FAREWELL_MS);
  await words.catch(() => {});
  clearTimeout(timer);
}

/** Ends a connection. */
export const endClient = (client: PgClient): Promise<void> => partingWords(client, client.end());

/**
 * Closes the pools of a data source whose initialization failed, because TypeORM leaves them open. It also ends
 * the connection that was in use: a pool waits for such a connection until it comes back.
 */
export async function closeHalfOpen(dataSource: DataSource): Promise<void> {
  await Promise.all([...holdersOf(dataSource)].map((queryRunner) => queryRunner.release()));
  await Promise.all(poolsOf(dataSource).map((pool) => pool.end()));
}

const preparedSources = new WeakSet<DataSource>();

/**
 * Makes a data source ready for this package.
 *
 * A server that shuts down may end a connection in the moment in which it opens. `pg` then emits an `error`
 * event before TypeORM listens for it, and an `error` event without a listener ends the process. This listens
 * for it and keeps the process alive. The user of the connection gets the error from the next statement.
 *
 * @param dataSource - it need not be initialized yet, so that its first connections are protected too
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
  // If an idle connection ends, the next statement opens another one, and reports an error if it cannot.
  made.on('error', () => {});
  return made;
}

const inUse = new WeakMap<PgPool, Set<PgClient>>();

/** The clients that were taken from a pool and are not back, since the pool was prepared. */
export const clientsInUse = (pool: PgPool): ReadonlySet<PgClient> => inUse.get(pool) ?? new Set();

const prepared = new WeakSet<PgClient>();

/** Prepares one client, as {@link preparePool} prepares the clients that are opened later. */
export function prepareClient(client: PgClient): void {
  if (prepared.has(client)) return;
  prepared.add(client);
  client.on('error', () => {});
  followTransactions(client);
}

/** Prepares one pool, as {@link prepareDataSource} prepares all pools of a data source. */
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
