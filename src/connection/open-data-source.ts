import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';
import type { BootOptions } from '../database.options.js';
import { DatabaseUnavailableError, fromDriver, MigrationError, reasonOf } from '../errors.js';
import { withMigrationLock } from './migration-lock.js';
import { migrationStatus } from './migration-status.js';

/** The part of Nest's logger that a boot needs. */
export interface BootLogger {
  log(message: string): void;
  warn(message: string): void;
}

/**
 * Opens a data source, waiting for a database that is not up yet, and brings its schema up to date.
 * Any number of replicas may do this at once, on any state of the database.
 *
 * @throws ConfigurationError if the database refuses the login; at once
 * @throws DatabaseUnavailableError if it could not be reached within `connectRetryMs`
 * @throws MigrationError if a migration fails, or the schema is not current and must be; at once
 */
export async function openDataSource(
  options: PostgresDataSourceOptions,
  boot: BootOptions,
  logger: BootLogger,
): Promise<DataSource> {
  const dataSource = await connect(options, boot.connectRetryMs, logger);
  try {
    await bringUpToDate(dataSource, boot, logger);
    return dataSource;
  } catch (error) {
    await dataSource.destroy();
    throw fromDriver(error, 'The boot');
  }
}

/** Connects, with exponential backoff and jitter while the reason is one that can heal. */
async function connect(
  options: PostgresDataSourceOptions,
  retryMs: number,
  logger: BootLogger,
): Promise<DataSource> {
  const deadline = performance.now() + retryMs;
  for (let backoffMs = 100; ; backoffMs = Math.min(backoffMs * 2, 5_000)) {
    try {
      return await new DataSource(options).initialize();
    } catch (cause) {
      const error = fromDriver(cause, 'The boot');
      const wait = backoffMs * (0.5 + Math.random() / 2);
      const retry =
        error instanceof DatabaseUnavailableError && performance.now() + wait < deadline;
      if (!retry) throw error;
      logger.warn(`Waiting for the database: ${reasonOf(error.cause)}. Trying again.`);
      await sleep(wait);
    }
  }
}

async function bringUpToDate(
  dataSource: DataSource,
  { migrationsRun, migrationsLockTimeoutMs, requireCurrentSchema }: BootOptions,
  logger: BootLogger,
): Promise<void> {
  const { pending, unknown } = await migrationStatus(dataSource);
  if (unknown.length > 0) {
    const message =
      `The database has migrations that this release does not know: ${unknown.join(', ')}. ` +
      `A newer release has migrated it`;
    if (requireCurrentSchema) {
      throw new MigrationError(`${message}; deploy that release, or drop requireCurrentSchema.`);
    }
    logger.log(`${message}; going on, as a rolling deployment does.`);
  }
  if (pending.length === 0) return;
  if (!migrationsRun) {
    const message =
      `The database lacks ${pending.length} migrations of this release: ${pending.join(', ')}. ` +
      `Run them with a role that may change the schema: npx frameforge-db migrate`;
    if (requireCurrentSchema) throw new MigrationError(`${message}.`);
    logger.warn(`${message}. Until then, calls that need them fail.`);
    return;
  }
  const onWait = (holder: string): void => {
    logger.log(`Waiting for another replica that is migrating the database: ${holder}.`);
  };
  await withMigrationLock(dataSource, migrationsLockTimeoutMs, onWait, () =>
    runMigrations(dataSource, logger),
  );
}

async function runMigrations(dataSource: DataSource, logger: BootLogger): Promise<void> {
  try {
    const done = await dataSource.runMigrations();
    // Another replica may have done them all while this one waited.
    if (done.length > 0) logger.log(`Migrated: ${done.map(({ name }) => name).join(', ')}.`);
  } catch (cause) {
    const error = fromDriver(cause, 'Migrating');
    if (error instanceof DatabaseUnavailableError) throw error;
    const { pending } = await migrationStatus(dataSource);
    throw new MigrationError(
      `Migration ${pending[0] ?? '(none pending)'} failed, and was rolled back unless it sets ` +
        `transaction = false: ${reasonOf(cause)}. Correct it, and boot again; ` +
        `those before it are applied.`,
      { cause },
    );
  }
}
