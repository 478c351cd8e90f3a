import type { DataSource } from 'typeorm';
import { clientsInUse, preparePool } from '../connection/pools.js';
import { DatabaseUnavailableError } from '../errors.js';
import { fromDriver, NO_CONNECTION_FREE, poolIsFull } from '../errors.driver.js';
import { clientsOf, connectFrom, isInTransaction, isOpening } from '../peers/pg.internals.js';
import type { PgClient, PgPool } from '../peers/pg.internals.js';
import { holdersOf } from '../peers/typeorm.internals.js';

/** The method of this package that uses a connection. */
const users = new WeakMap<PgClient, string>();

/**
 * Takes a connection from a pool. If a program has returned a connection in an open transaction, this ends it and
 * takes another one, because nobody would commit the writes on it.
 *
 * @param timeoutMs - how long to wait for a connection
 * @throws DatabaseUnavailableError if no connection is free; the message says what uses the connections
 */
export async function checkOut(
  operation: string,
  pool: PgPool,
  dataSource: DataSource,
  timeoutMs: number,
): Promise<PgClient> {
  preparePool(pool);
  for (;;) {
    const client = await take(operation, pool, dataSource, timeoutMs);
    if (!isInTransaction(client)) {
      users.set(client, operation);
      return client;
    }
    client.release(true);
  }
}

/** Gives a connection back to the pool, or ends it if its state is not known. */
export function giveBack(client: PgClient, isBroken: boolean): void {
  users.delete(client);
  client.release(isBroken || isInTransaction(client));
}

function take(
  operation: string,
  pool: PgPool,
  dataSource: DataSource,
  timeoutMs: number,
): Promise<PgClient> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const full = (cause: Error): DatabaseUnavailableError =>
      new DatabaseUnavailableError(operation, {
        cause,
        problem: poolIsFull(whoUses(pool, dataSource)),
      });
    const timer = setTimeout(() => {
      isLate = true;
      stopWaiting();
      const cause = new Error(`no connection within ${timeoutMs} ms`);
      reject(isFull(pool) ? full(cause) : new DatabaseUnavailableError(operation, { cause }));
    }, timeoutMs);
    const stopWaiting = connectFrom(pool, (error, client) => {
      clearTimeout(timer);
      // This runs as a separate microtask. If it ran here, the pool would give the connection to the next caller in
      // this call, and if that one has given up too, the calls would nest without end.
      if (isLate) queueMicrotask(() => client?.release());
      else if (error === undefined || error === null) resolve(client as PgClient);
      else if (isFull(pool) && error.message === NO_CONNECTION_FREE) reject(full(error));
      else reject(fromDriver(error, operation) as Error);
    });
  });
}

/** Whether the pool has all connections that it may have, and none of them is still being opened. */
const isFull = (pool: PgPool): boolean =>
  pool.totalCount >= pool.options.max && !clientsOf(pool).some(isOpening);

/** Describes the use of a pool, such as: all 10 connections (6 in transactions of the application, 4 by claimJobs). */
function whoUses(pool: PgPool, dataSource: DataSource): string {
  const counts = new Map<string, number>();
  const count = (what: string, by = 1): unknown => counts.set(what, (counts.get(what) ?? 0) + by);
  let known = 0;
  for (const client of clientsInUse(pool)) {
    const operation = users.get(client);
    if (operation === undefined) continue;
    known += 1;
    count(`by ${operation}`);
  }
  const others = Math.max(pool.totalCount - pool.idleCount - known, 0);
  const open = holdersOf(dataSource).filter((holder) => holder.isTransactionActive).length;
  const inTransactions = Math.min(open, others);
  if (inTransactions > 0) count('in transactions of the application', inTransactions);
  if (others > inTransactions)
    count('by other statements of the application', others - inTransactions);
  const list = [...counts].map(([what, number]) => `${number} ${what}`).join(', ');
  return `all ${pool.options.max} connections (${list})`;
}
