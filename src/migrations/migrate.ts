import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { BootLogger } from '../connection/boot.logger.js';
import { requireNothingMisread } from '../connection/host.options.js';
import type { BootOptions } from '../database.options.js';
import { MigrationError } from '../errors.js';
import { fromDriver } from '../errors.driver.js';
import type { LockOptions } from './migration.lock.js';
import { runMigrations } from './migration.runner.js';
import { migrationStatus } from './migration.status.js';
import { olderDatabaseError } from './older.database.js';

/** The options of {@link migrate}. */
export interface MigrateOptions {
  /** How long to wait, in ms, for another replica that is migrating. Default 300,000. */
  readonly lockTimeoutMs?: number;
  /** Logs what was migrated, and what the call waits for. Default: Nest's logger. */
  readonly logger?: BootLogger;
}

/**
 * Runs the pending migrations of the application's own data source, one replica at a time, as `forRoot` does. Use it
 * instead of TypeORM's `migrationsRun`, which fails when replicas start together. If nothing is pending, it takes no
 * lock and costs one round trip.
 *
 * @param dataSource - an initialized data source, with `frameForgeMigrations` among its migrations
 * @throws MigrationError if a migration fails, or another replica holds the lock for too long
 * @throws ConfigurationError if the role may not change the schema, or the URL of the data source names a schema,
 *   which TypeORM does not read
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
  requireNothingMisread(dataSource);
  try {
    await bringUpToDate(dataSource, options, logger);
  } catch (error) {
    throw fromDriver(error, 'Migrating');
  }
}

type Options = Pick<
  BootOptions,
  'migrationsRun' | 'migrationsLockTimeoutMs' | 'requireCurrentSchema'
>;

/**
 * Compares the migrations of the database with the migrations of this release. Then it migrates, warns or refuses,
 * as the options say.
 *
 * @param online - whether to build indexes while writes go on, before the migration that needs them
 * @throws MigrationError if a migration fails, or the schema is not current and must be
 */
export async function bringUpToDate(
  dataSource: DataSource,
  { migrationsRun, migrationsLockTimeoutMs, requireCurrentSchema }: Options,
  logger: BootLogger,
  online = false,
): Promise<void> {
  requireServerVersion(dataSource);
  const { pending, unknown, older } = await migrationStatus(dataSource);
  if (older.length > 0) throw olderDatabaseError(older);
  if (unknown.length > 0) {
    const message =
      `The database has migrations that this release does not know: ${unknown.join(', ')}. ` +
      `A newer release has migrated it`;
    if (requireCurrentSchema) {
      throw new MigrationError(
        `${message}; deploy that release, or turn off requireCurrentSchema.`,
      );
    }
    logger.log(`${message}; the boot goes on, because a rolling deployment needs that.`);
  }
  if (pending.length === 0) return;
  if (!migrationsRun) {
    const message =
      `The database lacks ${pending.length} migrations of this release: ${pending.join(', ')}. ` +
      `Run them with a role that may change the schema: npx frameforge-db migrate`;
    if (requireCurrentSchema) throw new MigrationError(`${message}.`);
    logger.warn(`${message}. Until then, calls that need these migrations fail.`);
    return;
  }
  const done = await runMigrations(
    dataSource,
    lockOptions(migrationsLockTimeoutMs, logger),
    online,
  );
  // Another replica may have run all of them while this one waited.
  if (done.length > 0) logger.log(`Migrated: ${done.join(', ')}.`);
}

const OLDEST_POSTGRESQL = 13;

/** Refuses a server that is too old, before the first migration fails with an error that is harder to understand. */
function requireServerVersion({ driver: { version } }: DataSource): void {
  // A server whose version is no PostgreSQL version is not refused.
  if (!(Number.parseInt(version ?? '', 10) < OLDEST_POSTGRESQL)) return;
  throw new MigrationError(
    `The database runs PostgreSQL ${version}, but this package needs ${OLDEST_POSTGRESQL} or later. ` +
      `Upgrade the server.`,
  );
}

/** The options of the migration lock, which log what the boot waits for. */
export function lockOptions(timeoutMs: number, logger: BootLogger): LockOptions {
  return {
    timeoutMs,
    onWait: (holder) =>
      logger.log(`Waiting for another replica that is migrating the database: ${holder}.`),
  };
}
