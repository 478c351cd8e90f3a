import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { fromDriver } from '../errors.js';
import { bringUpToDate } from './bring-up-to-date.js';
import type { BootLogger } from '../connection/boot.logger.js';

/** How {@link migrate} does its work. */
export interface MigrateOptions {
  /** How long to wait, in ms, for another replica that is migrating. Default 300,000. */
  readonly lockTimeoutMs?: number;
  /** Is told what was migrated, and what is being waited for. Default Nest's. */
  readonly logger?: BootLogger;
}

/**
 * Runs the pending migrations of a data source of the application's own, one replica at a time, as
 * `forRoot` does: instead of TypeORM's `migrationsRun`, which fails when replicas start together.
 * Where nothing is pending it takes no lock and costs one round trip.
 *
 * @param dataSource - an initialized one, with `frameForgeMigrations` among its migrations
 * @throws MigrationError if a migration fails, or another replica holds the lock for too long
 * @throws ConfigurationError if the role may not change the schema
 * @throws DatabaseUnavailableError if the connection breaks; run it again
 * @example
 * TypeOrmModule.forRootAsync({
 *   useFactory: () => options,
 *   dataSourceFactory: async (given) => {
 *     const dataSource = await new DataSource(given).initialize();
 *     await migrate(dataSource);
 *     return dataSource;
 *   },
 * });
 */
export async function migrate(
  dataSource: DataSource,
  { lockTimeoutMs = 300_000, logger = new Logger('FrameForgeDatabaseModule') }: MigrateOptions = {},
): Promise<void> {
  const options = {
    migrationsRun: true,
    migrationsLockTimeoutMs: lockTimeoutMs,
    requireCurrentSchema: false,
  };
  try {
    await bringUpToDate(dataSource, options, logger);
  } catch (error) {
    throw fromDriver(error, 'Migrating');
  }
}
