import type { DataSource, Migration, MigrationInterface, QueryRunner } from 'typeorm';
import { MigrationExecutor } from 'typeorm';
import type { RdbmsSchemaBuilder } from 'typeorm/schema-builder/RdbmsSchemaBuilder.js';
import { MigrationError } from '../errors.js';
import type { LockOptions } from './migration.lock.js';
import { migrationLockKey, waitForLock } from './migration.lock.js';

type Work<T> = () => Promise<T>;

/**
 * Runs migrations on a given connection, with TypeORM's means and in its order, and safe against
 * replicas that died or lost the lock: what a killed replica was running goes on in the server for a
 * moment after its lock is gone. Each transaction therefore takes a lock of its own, which no such
 * leftover lets go of before its end, and only then looks whether its migration is still to be run.
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

  /**
   * Runs what is pending, and makes the schema and the tables of migrations where they are missing.
   *
   * @returns the names of those that this replica ran
   */
  async migrate(): Promise<string[]> {
    const pending = await this.inTransaction(async () => {
      await this.createSchemaIfNotExist();
      await this.createMigrationsTableIfNotExist(this.runner);
      const schemaBuilder = this.dataSource.driver.createSchemaBuilder() as RdbmsSchemaBuilder;
      await schemaBuilder.createMetadataTableIfNecessary(this.runner);
      return this.pending();
    });
    if (this.transaction !== 'all') return this.runEach(pending);
    this.refuseOverrides(pending);
    return this.inTransaction(async () => this.runEach(await this.pending()));
  }

  /**
   * Reverts the newest migration. Unlike `undoLastMigration` it keeps to the migration's `transaction`.
   *
   * @returns its name, or undefined if there is none
   */
  async revert(): Promise<string | undefined> {
    const [newest] = await this.inTransaction(() => this.getExecutedMigrations());
    if (newest === undefined) return undefined;
    const migration = this.getMigrations().find(({ name }) => name === newest.name);
    if (migration?.instance === undefined) {
      throw new MigrationError(
        `The newest migration, ${newest.name}, is unknown to this release: ` +
          `revert it with the release that has it.`,
      );
    }
    const { instance } = migration;
    await this.asItWants(newest.name, instance, async () => {
      await instance.down(this.runner);
      await this.deleteExecutedMigration(this.runner, newest);
    });
    return newest.name;
  }

  private async runEach(migrations: readonly Migration[]): Promise<string[]> {
    const done: string[] = [];
    for (const migration of migrations) {
      const { name, instance } = migration;
      if (instance === undefined) continue;
      await this.asItWants(name, instance, async () => {
        const pending = await this.pending();
        if (pending.every((other) => other.name !== name)) return;
        await instance.up(this.runner);
        await this.insertExecutedMigration(this.runner, migration);
        done.push(name);
      });
    }
    return done;
  }

  private async pending(): Promise<Migration[]> {
    const executed = new Set((await this.loadExecutedMigrations(this.runner)).map((m) => m.name));
    return this.getMigrations().filter(({ name }) => !executed.has(name));
  }

  /** Does the work in a transaction of the migration's own, or without one. */
  private async asItWants(
    name: string,
    { transaction }: MigrationInterface,
    work: Work<void>,
  ): Promise<void> {
    const inTransaction = transaction ?? this.transaction !== 'none';
    this.current = { name, inTransaction };
    await (inTransaction && !this.runner.isTransactionActive ? this.inTransaction(work) : work());
  }

  private async inTransaction<T>(work: Work<T>): Promise<T> {
    const { runner, key } = this;
    await waitForLock(key, this.lock, {
      tryLock: async () => {
        await runner.startTransaction('READ COMMITTED');
        const [row] = (await runner.query(
          `SELECT pg_try_advisory_xact_lock(${key}) AS locked`,
        )) as {
          locked: boolean;
        }[];
        if (row?.locked === true) return true;
        await runner.rollbackTransaction();
        return false;
      },
      query: (sql) => runner.query(sql) as Promise<unknown[]>,
    });
    const result = await work();
    await runner.commitTransaction();
    return result;
  }

  /** Asks first: `CREATE SCHEMA IF NOT EXISTS` takes the right to create it even where it exists. */
  private async createSchemaIfNotExist(): Promise<void> {
    const { schema } = this.dataSource.options as { schema?: string };
    if (schema === undefined || (await this.runner.hasSchema(schema))) return;
    await this.runner.query(`CREATE SCHEMA ${this.dataSource.driver.escape(schema)}`);
  }

  private refuseOverrides(pending: readonly Migration[]): void {
    const names = pending
      .filter(({ instance }) => instance?.transaction !== undefined)
      .map(({ name }) => name);
    if (names.length === 0) return;
    throw new MigrationError(
      `${names.join(', ')} set \`transaction\`, which migrationsTransactionMode 'all' overrules: ` +
        `use the mode 'each', which is the default here.`,
    );
  }
}
