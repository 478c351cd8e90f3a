import { DataSource } from 'typeorm';
import type { PostgresOptions } from '../peers/typeorm.internals.js';
import { closeHalfOpen, prepareDataSource } from '../connection/pools.js';
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
 * @param leaseMs - what takes a third of it, a statement or opening a connection, is given up in time
 *   for another try
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
      prepareDataSource(own);
      await own.initialize();
      connecting.succeeded();
      return own;
    } catch (cause) {
      await closeHalfOpen(own);
      const error = fromDriver(cause, 'FrameForgeWorkerModule');
      if (!isTransient(error)) throw error;
      await connecting.wait(error);
    }
  }
}

function ownDataSource(of: DataSource, leaseMs: number): DataSource {
  const options = of.options as PostgresOptions;
  const timeoutMs = Math.ceil(leaseMs / 3);
  return new DataSource({
    ...options,
    // All that is done here writes: a replica that is away shall not matter.
    replication: options.replication && { ...options.replication, slaves: [] },
    entities: frameForgeEntities,
    migrations: [],
    subscribers: [],
    cache: false,
    // Whatever the application's own data source does at its start, it has done it.
    synchronize: false,
    dropSchema: false,
    migrationsRun: false,
    installExtensions: false,
    poolSize: CONNECTIONS,
    extra: {
      ...(options.extra as object | undefined),
      max: CONNECTIONS,
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      // Kept open: opening one can fail just when a lease needs it.
      idleTimeoutMillis: 0,
    },
  });
}

const CONNECTIONS = 2;
