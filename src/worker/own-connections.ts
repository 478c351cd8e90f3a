import { DataSource } from 'typeorm';
import { poolsOf } from '../connection/pools.js';
import { fromDriver } from '../errors.js';
import { frameForgeEntities } from '../schema/entities/index.js';

/**
 * Opens two connections outside of the application's pool, so that a full pool or a handler's slow
 * transaction endangers no lease: one extends leases and gives jobs back, the other listens.
 *
 * @param of - the application's data source, whose server and login they share
 * @param leaseMs - a statement that takes a third of it is given up, in time for another try
 * @throws DatabaseUnavailableError
 */
export async function openOwnConnections(of: DataSource, leaseMs: number): Promise<DataSource> {
  const { options } = of;
  const own = new DataSource({
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
  try {
    return await own.initialize();
  } catch (error) {
    await Promise.all(poolsOf(own).map((pool) => pool.end()));
    throw fromDriver(error, 'FrameForgeWorkerModule');
  }
}

const CONNECTIONS = 2;
