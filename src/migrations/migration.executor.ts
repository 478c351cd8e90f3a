import type { DataSource, QueryRunner } from 'typeorm';
import { MigrationError } from '../errors.js';
import { createMetadataTable } from '../peers/typeorm.internals.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import type { LockOptions } from './migration.lock.js';
import { migrationLockKey, waitForLock } from './migration.lock.js';
import type { KnownMigration } from './migration.record.js';
import { knownMigrations, MigrationRecord } from './migration.record.js';

type Work<T> = () => Promise<T>;

/** A further method of migrations of this package, which does a part of the work while writes go on. */
interface OnlineMigration {
  /** Runs before `up`, outside a transaction. `up` then keeps the indexes that it has built. */
  upOnline?(runner: QueryRunner): Promise<void>;
}

/**
 * Runs migrations on a given connection. It is safe against replicas that were killed or lost the lock: a
 * statement of a killed replica may go on in the server for a moment, after the replica's lock is gone.
 * Therefore each transaction takes a second lock, which it holds until it ends. Only then does it check
 * whether its migration must still run.
 */
export class LockedMigrationExecutor {
  /** The migration that runs now, or the one that ran last. */
  current?: { readonly name: string; readonly inTransaction: boolean; readonly online?: true };
  /** Whether migrations share one transaction, have one each, or none. */
  readonly mode: 'all' | 'each' | 'none';
  private readonly key: string;
  private readonly record: MigrationRecord;

  /**
   * @param runner - the connection; the caller rolls back its open transaction, and releases it
   * @param online - whether to build indexes while writes go on, before the migration that needs them
   */
  constructor(
    private readonly dataSource: DataSource,
    private readonly runner: QueryRunner,
    private readonly lock: LockOptions,
    private readonly online = false,
  ) {
    this.mode = dataSource.options.migrationsTransactionMode ?? 'each';
    this.key = migrationLockKey(dataSource, ':transaction');
    this.record = new MigrationRecord(dataSource, runner);
  }

  /**
   * Runs the pending migrations. Creates the schema and the tables of migrations if they are missing.
   *
   * @returns the names of the migrations that this replica ran
   */
  async migrate(): Promise<string[]> {
    await this.record.applied();
    const pending = await this.inTransaction(async () => {
      await this.createSchemaIfNotExist();
      await this.record.create();
      await createMetadataTable(this.runner);
      return this.pending();
    });
    if (this.mode !== 'all') return this.runEach(pending);
    this.refuseOverrides(pending);
    return this.inTransaction(async () => this.runEach(await this.pending()));
  }

  /**
   * Reverts the newest applied migration of the data source. Unlike `undoLastMigration`, it respects the
   * migration's `transaction`, and passes over migrations of other services.
   *
   * @returns the name of the migration, or undefined if there is none
   */
  async revert(): Promise<string | undefined> {
    const known = knownMigrations(this.dataSource);
    const find = (name: string): KnownMigration | undefined =>
      known.find((migration) => migration.name === name);
    const isOurs = known.some(({ name }) => isFrameForgeMigration(name));
    const applied = (await this.record.applied()).toReversed();
    const name = applied.find(
      (each) => find(each) !== undefined || (isOurs && isFrameForgeMigration(each)),
    );
    if (name === undefined) return undefined;
    const migration = find(name);
    if (migration === undefined) {
      throw new MigrationError(
        `This release does not know the newest migration, ${name}. ` +
          `Revert it with the release that has it.`,
      );
    }
    await this.asItWants(migration, async () => {
      if (!(await this.record.applied()).includes(name)) return;
      await migration.instance.down(this.runner);
      await this.record.remove(migration);
    });
    return name;
  }

  /** Does other work on the database, in one transaction that excludes all migrations. */
  async alone<T>(work: (runner: QueryRunner, record: MigrationRecord) => Promise<T>): Promise<T> {
    await this.record.applied();
    return this.inTransaction(() => work(this.runner, this.record));
  }

  private async runEach(migrations: readonly KnownMigration[]): Promise<string[]> {
    const done: string[] = [];
    for (const migration of migrations) {
      await this.runOnline(migration);
      await this.asItWants(migration, async () => {
        if ((await this.record.applied()).includes(migration.name)) return;
        await migration.instance.up(this.runner);
        await this.record.add(migration);
        done.push(migration.name);
      });
    }
    return done;
  }

  private async runOnline({ name, instance }: KnownMigration): Promise<void> {
    const { upOnline } = instance as OnlineMigration;
    if (!this.online || upOnline === undefined) return;
    if (this.mode === 'all') {
      throw new MigrationError(
        `${name} cannot build its indexes while writes go on, because all migrations share one ` +
          `transaction. Set migrationsTransactionMode to 'each', the default of this package.`,
      );
    }
    this.current = { name, inTransaction: false, online: true };
    await upOnline.call(instance, this.runner);
  }

  private async pending(): Promise<KnownMigration[]> {
    const applied = await this.record.applied();
    return knownMigrations(this.dataSource).filter(({ name }) => !applied.includes(name));
  }

  /** Does the work in a transaction or without one, as the migration wants. */
  private async asItWants(migration: KnownMigration, work: Work<void>): Promise<void> {
    const inTransaction = migration.instance.transaction ?? this.mode !== 'none';
    this.current = { name: migration.name, inTransaction };
    await (inTransaction && !this.runner.isTransactionActive ? this.inTransaction(work) : work());
  }

  private async inTransaction<T>(work: Work<T>): Promise<T> {
    const { runner, key } = this;
    await waitForLock(key, this.lock, {
      tryLock: async () => {
        await runner.startTransaction('READ COMMITTED');
        const [row] = (await runner.query(
          `SELECT pg_try_advisory_xact_lock(${key}) AS "locked"`,
        )) as { locked: boolean }[];
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

  /** Checks first, because `CREATE SCHEMA IF NOT EXISTS` needs the right to create even if the schema exists. */
  private async createSchemaIfNotExist(): Promise<void> {
    const { schema } = this.dataSource.options as { schema?: string };
    if (schema === undefined || (await this.runner.hasSchema(schema))) return;
    await this.runner.query(`CREATE SCHEMA ${this.dataSource.driver.escape(schema)}`);
  }

  private refuseOverrides(pending: readonly KnownMigration[]): void {
    const names = pending
      .filter(({ instance }) => instance.transaction !== undefined)
      .map(({ name }) => name);
    if (names.length === 0) return;
    throw new MigrationError(
      `${names.join(', ')} set \`transaction\`, but migrationsTransactionMode 'all' ignores that. ` +
        `Use the mode 'each', the default of this package.`,
    );
  }
}
