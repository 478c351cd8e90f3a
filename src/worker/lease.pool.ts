import type { DataSource } from 'typeorm';
import { openClient, poolLike } from '../connection/pools.js';
import { fromDriver } from '../errors.driver.js';
import type { PgPool } from '../peers/pg.internals.js';
import { poolsOf } from '../peers/typeorm.internals.js';
import { canHeal } from '../connection/healing.js';
import type { Activity } from './outage.watch.js';

/** The number of connections. One extends leases and gives jobs back, the other one listens. */
const CONNECTIONS = 2;

/**
 * Opens a pool of two connections beside the application's, and the first of them, so that a full pool or a handler's slow
 * transaction endangers no lease. Waits for a database that is away.
 *
 * @param of - the application's data source, whose primary server and login they share
 * @param leaseMs - opening a connection is given up after a third of it, in time for another try
 * @throws ConfigurationError if the database refuses the login
 * @throws WorkerStoppedError
 */
export async function openLeasePool(
  of: DataSource,
  leaseMs: number,
  connecting: Activity,
): Promise<PgPool> {
  const [primary] = poolsOf(of);
  if (primary === undefined) throw new Error('The data source of the worker is closed.');
  const pool = poolLike(primary, {
    max: CONNECTIONS,
    connectionTimeoutMillis: Math.ceil(leaseMs / 3),
    // The connection stays open, because opening one may fail when a lease needs it.
    idleTimeoutMillis: 0,
  });
  for (;;) {
    try {
      // This opens only one. If both were idle when the server vanishes, each would use up a try to extend the leases.
      (await openClient(pool)).release();
      connecting.succeeded();
      return pool;
    } catch (cause) {
      const error = fromDriver(cause, 'FrameForgeWorkerModule');
      try {
        if (!canHeal(error)) throw error;
        await connecting.wait(error);
      } catch (end) {
        await pool.end();
        throw end;
      }
    }
  }
}
