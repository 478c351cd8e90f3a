import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';
import type { BootOptions } from '../database.options.js';
import {
  DatabaseUnavailableError,
  fromDriver,
  MigrationError,
  reasonOf,
  TransactionConflictError,
} from '../errors.js';
import { DrainingDataSource } from './draining-data-source.js';
import { runMigrations } from './migration-runner.js';
import { migrationStatus } from './migration-status.js';
import { poolsOf } from './pools.js';
import { serverName } from './server-name.js';

/** The part of Nest's logger that a boot needs. */
export interface BootLogger {
  log(message: string): void;
  warn(message: string): void;
}

/** A wait between two tries, in ms: twice as long each time, up to the second. */
const [FIRST_BACKOFF_MS, LAST_BACKOFF_MS] = [100, 5_000];

/** How often, in ms, it is told that the same thing is still being waited for. */
const TELL_MS = 5_000;

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
  const server = serverName(options);
  const tell = teller(server, logger);
  let deadline: number | undefined;
  for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(backoffMs * 2, LAST_BACKOFF_MS)) {
    try {
      return await open(options, boot, logger, tell);
    } catch (cause) {
      const error = fromDriver(cause, `Booting on ${server}`);
      // From the first failure: a migration that ran for an hour before it has used up nothing.
      deadline ??= performance.now() + boot.connectRetryMs;
      const waitMs = backoffMs * (0.5 + Math.random() / 2);
      if (!canHeal(error) || performance.now() + waitMs >= deadline) throw error;
      tell(reasonOf(error.cause));
      await sleep(waitMs);
    }
  }
}

/** One try; it leaves nothing open when it fails. */
async function open(
  options: PostgresDataSourceOptions,
  boot: BootOptions,
  logger: BootLogger,
  tell: (reason: string) => void,
): Promise<DataSource> {
  const dataSource = new DrainingDataSource(options, boot.shutdownTimeoutMs, (message) =>
    logger.warn(message),
  );
  // One that refuses is told of after each try; one that is silent would go untold.
  const timer = setInterval(() => tell('it has not answered yet'), TELL_MS);
  try {
    await dataSource.initialize();
    clearInterval(timer);
    await bringUpToDate(dataSource, boot, logger);
    return dataSource;
  } catch (error) {
    clearInterval(timer);
    // TypeORM leaves the pools open that it had opened before the one that failed.
    if (dataSource.isInitialized) await dataSource.destroy();
    else await Promise.all(poolsOf(dataSource).map((pool) => pool.end()));
    throw error;
  }
}

/** Whether the same try can succeed later: not when the disk is full. */
function canHeal(error: unknown): error is Error {
  const { code } = ((error as Error).cause ?? {}) as { code?: unknown };
  return (
    (error instanceof DatabaseUnavailableError && code !== '53100') ||
    error instanceof TransactionConflictError
  );
}

/** Tells what is being waited for: at once, then when the reason changes or time has passed. */
function teller(server: string, logger: BootLogger): (reason: string) => void {
  let last = { reason: '', at: 0 };
  return (reason) => {
    if (reason === last.reason && performance.now() - last.at < TELL_MS) return;
    last = { reason, at: performance.now() };
    logger.warn(`Waiting for the database ${server}: ${reason}.`);
  };
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
  const done = await runMigrations(dataSource, {
    timeoutMs: migrationsLockTimeoutMs,
    onWait: (holder) =>
      logger.log(`Waiting for another replica that is migrating the database: ${holder}.`),
  });
  // Another replica may have done them all while this one waited.
  if (done.length > 0) logger.log(`Migrated: ${done.join(', ')}.`);
}
