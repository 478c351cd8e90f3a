import { DataSource } from 'typeorm';
import { poolsOf, surviveEarlyEnds } from '../connection/pools.js';
import { fromDriver } from '../errors.js';
import { frameForgeEntities } from '../schema/entities/index.js';
import { isTransient } from './outage.watch.js';
import type { Activity } from './outage.watch.js';

/**
 * Opens two connections outside of the application's pool, so that a full pool or a handler's slow
 * transaction endangers no lease: one extends leases and gives jobs back, the other listens. Waits for
 * a database that is away.
 *
 * @param of - the application's data source, whose server and login they share
 * @param leaseMs - a statement that takes a third of it is given up, in time for another try
 * @throws ConfigurationError if the database refuses the login
 * @throws WorkerStoppedError
 */
export async function openOwnConnections(
  of: DataSource,
  leaseMs: number,
  connecting: Activity,
): Promise<DataSource> {
  for (;;) {
    const own = ownDataSource(of, leaseMs);
    try {
      await own.initialize();
      surviveEarlyEnds(own);
      connecting.succeeded();
      return own;
    } catch (cause) {
      await Promise.all(poolsOf(own).map((pool) => pool.end()));
      const error = fromDriver(cause, 'FrameForgeWorkerModule');
      if (!isTransient(error)) throw error;
      await connecting.wait(error);
    }
  }
}

function ownDataSource({ options }: DataSource, leaseMs: number): DataSource {
  return new DataSource({
    ...options,
    entities: frameForgeEntities,
    migrations: [],
    subscribers: [],
    cache: false,
    // Whatever the application's own data source does at its start, it has done it.
    synchronize: false,
    dropSchema: false,
    migrationsRun: false,
    poolSize: CONNECTIONS,
    extra: {
      ...(options.extra as object | undefined),
      max: CONNECTIONS,
      query_timeout: Math.ceil(leaseMs / 3),
      // Kept open: opening one can fail just when a lease needs it.
      idleTimeoutMillis: 0,
    },
  } as DataSource['options']);
}

const CONNECTIONS = 2;
