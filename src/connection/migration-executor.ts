import type { DataSource, Migration, MigrationInterface, QueryRunner } from 'typeorm';
import { MigrationExecutor } from 'typeorm';
import { MigrationError } from '../errors.js';
import type { LockOptions } from './migration-lock.js';
import { migrationLockKey, waitForLock } from './migration-lock.js';

/** Thrown when another replica turns out to be running, or to have run, a migration. */
const OVERTAKEN = Symbol('overtaken');

/**
 * TypeORM's executor on a given connection, made safe against replicas that died or lost the lock.
 *
 * What a killed replica was running goes on in the server for a moment after its lock is gone. Each
 * transaction therefore also takes a lock of its own, which no such leftover lets go of before its
 * end, and only then looks whether its migration is still to be run.
 */
export class LockedMigrationExecutor extends MigrationExecutor {
  /** The migration that runs, or the last one that did. */
  current?: { readonly name: string; readonly inTransaction: boolean };
  private readonly key: string;

  /** @param runner - the connection; the caller rolls back what is open on it, and releases it */
  constructor(
    dataSource: DataSource,
    private readonly runner: QueryRunner,
    private readonly lock: LockOptions,
  ) {
    super(dataSource, runner);
    this.transaction = dataSource.options.migrationsTransactionMode ?? 'each';
    this.key = migrationLockKey(dataSource, ':transaction');
  }

  /** Runs what is pending, and makes the schema and the table of migrations where they are missing. */
  async migrate(): Promise<string[]> {
    for (;;) {
      try {
        await this.inTransaction(async () => {
          await this.createSchemaIfNotExist();
          await this.createMigrationsTableIfNotExist(this.runner);
        });
        return (await this.executePendingMigrations()).map(({ name }) => name);
      } catch (error) {
        if (error !== OVERTAKEN) throw error;
      }
    }
  }

  /**
   * Reverts the newest migration. Unlike `undoLastMigration` it keeps to the migration's `transaction`.
   *
   * @returns its name, or undefined if there is none
   */
  async revert(): Promise<string | undefined> {
    const [newest] = await this.inTransaction(() => this.getExecutedMigrations());
    if (newest === undefined) return undefined;
    const migration = super.getMigrations().find(({ name }) => name === newest.name);
    if (migration?.instance === undefined) {
      throw new MigrationError(
        `The newest migration, ${newest.name}, is unknown to this release: ` +
          `revert it with the release that has it.`,
      );
    }
    const inTransaction = this.runsInTransaction(migration.instance);
    this.current = { name: newest.name, inTransaction };
    this.transaction = inTransaction ? 'each' : 'none';
    await this.undoLastMigration();
    return newest.name;
  }

  /** Each migration, with what has to be looked at before it. */
  protected override getMigrations(): Migration[] {
    return super.getMigrations().map((migration) => {
      const { name, instance } = migration;
      if (instance !== undefined) {
        migration.instance = {
          transaction: instance.transaction,
          up: async (runner) => {
            if (!(await this.isMine(name))) throw OVERTAKEN;
            this.current = { name, inTransaction: this.runsInTransaction(instance) };
            await instance.up(runner);
          },
          down: (runner) => instance.down(runner),
        };
      }
      return migration;
    });
  }

  private async isMine(name: string): Promise<boolean> {
    if (this.runner.isTransactionActive && !(await this.tryLock())) return false;
    const executed = await this.loadExecutedMigrations(this.runner);
    return executed.every((migration) => migration.name !== name);
  }

  private runsInTransaction({ transaction }: MigrationInterface): boolean {
    return transaction ?? this.transaction !== 'none';
  }

  private async inTransaction<T>(work: () => Promise<T>): Promise<T> {
    const { runner } = this;
    await waitForLock(this.key, this.lock, {
      tryLock: async () => {
        await runner.startTransaction('READ COMMITTED');
        if (await this.tryLock()) return true;
        await runner.rollbackTransaction();
        return false;
      },
      query: (sql) => runner.query(sql) as Promise<unknown[]>,
    });
    const result = await work();
    await runner.commitTransaction();
    return result;
  }

  private async tryLock(): Promise<boolean> {
    const [row] = (await this.runner.query(
      `SELECT pg_try_advisory_xact_lock(${this.key}) AS locked`,
    )) as { locked: boolean }[];
    return row?.locked === true;
  }

  /** Asks first: `CREATE SCHEMA IF NOT EXISTS` takes the right to create it even where it exists. */
  private async createSchemaIfNotExist(): Promise<void> {
    const { schema } = this.dataSource.options as { schema?: string };
    if (schema === undefined || (await this.runner.hasSchema(schema))) return;
    await this.runner.query(`CREATE SCHEMA ${this.dataSource.driver.escape(schema)}`);
  }
}
