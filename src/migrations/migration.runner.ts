import type { DataSource, QueryRunner } from 'typeorm';
import { ConfigurationError, MigrationError } from '../errors.js';
import { driverErrorOf, fromDriver } from '../errors.driver.js';
import { clauseOf } from '../errors.text.js';
import { healsSoon } from '../connection/healing.js';
import { LockedMigrationExecutor } from './migration.executor.js';
import type { LockOptions } from './migration.lock.js';
import { withMigrationLock } from './migration.lock.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import { migrationStatus } from './migration.status.js';
import type { PgClient } from '../peers/pg.internals.js';
import { endClient, partingWords } from '../connection/pools.js';

/**
 * Runs the pending migrations, one replica at a time.
 *
 * @param online - whether to build indexes while writes go on, before the migration that needs them
 * @returns the names of the migrations that this replica ran
 * @throws MigrationError if a migration fails, or this replica does not get the lock in time
 * @throws ConfigurationError if the role may not change the schema
 */
export async function runMigrations(
  dataSource: DataSource,
  lock: LockOptions,
  online = false,
): Promise<string[]> {
  // When the first replica is done, all waiting replicas go on at once, and not one after the other.
  const isDone = async (): Promise<boolean> =>
    (await migrationStatus(dataSource)).pending.length === 0;
  const options = { ...lock, isDone };
  const done = await underLock(
    dataSource,
    options,
    'Migrating',
    (executor) => executor.migrate(),
    online,
  );
  return done ?? [];
}

/**
 * Reverts the newest applied migration of the data source, one replica at a time.
 *
 * @returns the name of the migration, or undefined if there is none
 * @throws MigrationError if it fails, if a newer release has migrated since, or if this replica does not get the
 *   lock in time
 * @throws ConfigurationError if the role may not change the schema
 */
export function revertMigration(
  dataSource: DataSource,
  lock: LockOptions,
): Promise<string | undefined> {
  return underLock(dataSource, lock, 'Reverting', (executor) => executor.revert());
}

/** Does work on its own connection while no other replica migrates. @param operation - names the work in messages */
export async function underLock<T>(
  dataSource: DataSource,
  lock: LockOptions,
  operation: string,
  work: (executor: LockedMigrationExecutor) => Promise<T>,
  online = false,
): Promise<T | undefined> {
  return withMigrationLock(dataSource, lock, async (lost) => {
    const runner = dataSource.createQueryRunner('master');
    const { timeoutMs, onWait } = lock;
    const executor = new LockedMigrationExecutor(dataSource, runner, { timeoutMs, onWait }, online);
    const ends = new Ends(lost);
    try {
      await ends.watch(runner);
      return await work(executor);
    } catch (error) {
      throw failure(ends.reason ?? error, operation, executor);
    } finally {
      await ends.rollback(runner);
      await runner.release();
    }
  });
}

/**
 * Ends the connection of the migrations when the lock is lost, because its open transaction must not be
 * committed any more. Also keeps the reason why a connection ended, because TypeORM's error does not have it.
 */
class Ends {
  reason?: unknown;
  private client?: PgClient;

  constructor(private readonly lost: AbortSignal) {}

  async watch(runner: QueryRunner): Promise<void> {
    this.client = (await runner.connect()) as PgClient;
    this.client.on('error', this.keep);
    this.lost.addEventListener('abort', this.end, { once: true });
    if (this.lost.aborted) this.end();
  }

  /** Rolls back an open transaction, so that the connection can go back to its pool. */
  async rollback(runner: QueryRunner): Promise<void> {
    this.lost.removeEventListener('abort', this.end);
    if (this.client === undefined) return;
    this.client.off('error', this.keep);
    if (runner.isTransactionActive) await partingWords(this.client, runner.rollbackTransaction());
  }

  private readonly keep = (error: unknown): void => void (this.reason ??= error);

  private readonly end = (): void => {
    this.keep(this.lost.reason);
    if (this.client !== undefined) void endClient(this.client);
  };
}

/** `idle_in_transaction_session_timeout` has ended the connection. */
const IDLE_TIMEOUT = '25P03';

function failure(
  thrown: unknown,
  operation: string,
  { current, mode }: LockedMigrationExecutor,
): unknown {
  const error = fromDriver(thrown, operation);
  // A migration that is idle for longer than the server allows would fail in each try, so it is not tried again.
  const { code } = (error as { cause?: { code?: unknown } } | undefined)?.cause ?? {};
  if (healsSoon(error) && code !== IDLE_TIMEOUT) return error;
  if (thrown instanceof MigrationError) return thrown;
  const cause = driverErrorOf(thrown);
  if (error instanceof ConfigurationError) {
    return new ConfigurationError(
      `${operation} ${current?.name ?? 'the database'} is not allowed to this database role: ` +
        `${clauseOf(cause)}. Run npx frameforge-db migrate with the role that owns the schema, and set \`migrationsRun: false\` here. ` +
        `docs/roles.md has the SQL for both roles.`,
      { cause },
    );
  }
  if (current === undefined) {
    return new MigrationError(`${operation} failed, and changed nothing: ${clauseOf(cause)}.`, {
      cause,
    });
  }
  const remains = current.online
    ? 'The next start drops what was half built'
    : !current.inTransaction
      ? 'It has no transaction: look what remains of it, such as an invalid index, and remove that'
      : mode === 'all'
        ? 'All that this run had done was rolled back'
        : 'It was rolled back; those before it are applied';
  return new MigrationError(
    `${operation}: ${current.name} failed: ${clauseOf(cause)}. ${remains}. ` +
      `${remedyFor(current.name, cause)}, and start again.`,
    { cause },
  );
}

/** PostgreSQL's error codes for something that exists already: a table or index, another object, a column, a function. */
const EXISTS = new Set(['42P07', '42710', '42701', '42723']);

function remedyFor(name: string, cause: unknown): string {
  if (!isFrameForgeMigration(name)) return 'Correct the migration';
  return EXISTS.has(String((cause as { code?: unknown } | undefined)?.code))
    ? 'It was made by something else than this package: give the package a schema of its own, by ' +
        'the option `schema` (a schema that is missing is made)'
    : 'Correct what it met';
}
