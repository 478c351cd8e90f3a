import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { DataSource } from 'typeorm';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import {
  ConfigurationError,
  JobNotFoundError,
  MigrationError,
  UserNotFoundError,
} from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { ProcessingState, User, VideoJob } from '../../src/schema/entities/index.js';
import { createTestDatabase, userFixture, videoJobFixture } from '../../src/testing/index.js';
import type { TestDatabaseOptions } from '../../src/testing/index.js';
import { truncateTables } from '../../src/testing/truncate.js';
import { query } from '../support/query.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';

/** Options that no earlier test has used, so that they have no template yet. */
const unseen = (options: TestDatabaseOptions = {}): TestDatabaseOptions => ({
  migrationsTableName: `migrations_${randomBytes(6).toString('hex')}`,
  ...options,
});

const exists = async (url: string, table: string): Promise<boolean> =>
  (await query(url, `SELECT to_regclass('${table}') IS NOT NULL AS found`))[0]?.['found'] === true;

const isGone = (url: string): Promise<unknown> =>
  expect(query(onServer(url), 'SELECT 1')).rejects.toMatchObject({ code: '3D000' });

class Broken1800000003000 implements MigrationInterface {
  readonly name = 'Broken1800000003000';
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('CREATE TABLE nonsense (n nonsense)');
  }
  async down(): Promise<void> {}
}

describe('a test database', () => {
  it('is migrated, and can be used by a data source or by the options of a boot', async () => {
    await using database = await createTestDatabase();
    const dataSource = await database.dataSource();
    expect(await database.dataSource()).toBe(dataSource);
    expect(await dataSource.query('SELECT name FROM migrations ORDER BY id')).toEqual(
      frameForgeMigrations.map(({ name }) => ({ name })),
    );
    const other = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    expect(await other.query('TABLE video_jobs')).toEqual([]);
    await other.destroy();
    expect(database.options.url).toBe(database.url);
  });

  it('does not contain the rows of another one', async () => {
    await using a = await createTestDatabase();
    await using b = await createTestDatabase();
    await userFixture().persist(await a.dataSource());
    expect(await (await a.dataSource()).getRepository(User).count()).toBe(1);
    expect(await (await b.dataSource()).getRepository(User).count()).toBe(0);
  });

  it('is dropped with its connections, and a second drop does nothing', async () => {
    const database = await createTestDatabase();
    const dataSource = await database.dataSource();
    const client = new Client({ connectionString: onServer(database.url) });
    const errors: unknown[] = [];
    client.on('error', (error) => errors.push(error));
    await client.connect();
    await Promise.all([database.drop(), database.drop()]);
    await database.drop();
    await until(() => errors.length > 0);
    expect(errors[0]).toMatchObject({ code: '57P01' });
    expect(dataSource.isInitialized).toBe(false);
    await isGone(database.url);
  });

  it('is dropped at the end of a block with `await using`', async () => {
    let url: string;
    {
      await using database = await createTestDatabase();
      url = database.url;
      await query(url, 'SELECT 1');
    }
    await isGone(url);
  });

  it('needs one connection, also while a template is missing or fails', async () => {
    await using database = await createTestDatabase();
    const holders = (): Promise<unknown[]> =>
      query(
        database.url,
        `SELECT pid FROM pg_stat_activity
        WHERE application_name = regexp_replace(current_database(), '_\\d+$', '')`,
      );
    const before = await holders();
    expect(before).toHaveLength(1);
    await using another = await createTestDatabase(unseen());
    expect(another.url).not.toBe(database.url);
    await expect(createTestDatabase(unseen({ migrations: [Broken1800000003000] }))).rejects.toThrow(
      MigrationError,
    );
    expect(await holders()).toEqual(before);
  });

  it('refuses options that name a database', async () => {
    const options = { schema: 'video', host: 'localhost' } as TestDatabaseOptions;
    const refused = createTestDatabase(options);
    await expect(refused).rejects.toThrow(ConfigurationError);
    await expect(refused).rejects.toThrow(/remove `host`.*TEST_DATABASE_URL/);
  });
});

describe('truncate', () => {
  it('empties the tables and keeps the migrations', async () => {
    await using database = await createTestDatabase();
    const dataSource = await database.dataSource();
    await dataSource.query('CREATE TABLE counters (n serial, "Odd Name" text)');
    await dataSource.query('INSERT INTO counters DEFAULT VALUES');
    await videoJobFixture({ status: 'failed' }).persist(dataSource);
    await database.truncate();
    for (const table of ['users', 'video_jobs', 'notification_log', 'job_attempt_errors']) {
      expect(await dataSource.query(`SELECT count(*)::int AS n FROM ${table}`)).toEqual([{ n: 0 }]);
    }
    expect(await dataSource.query('INSERT INTO counters DEFAULT VALUES RETURNING n')).toEqual([
      { n: 1 },
    ]);
    expect(await dataSource.query('SELECT count(*)::int AS n FROM migrations')).toEqual([
      { n: frameForgeMigrations.length },
    ]);
    await dataSource.destroy();
    await dataSource.initialize();
    expect(await dataSource.showMigrations()).toBe(false);
  });

  it('ends a pause of the processing', async () => {
    await using database = await createTestDatabase({ schema: 'video' });
    const states = (await database.dataSource()).getRepository(ProcessingState);
    await states.update({ onlyRow: true }, { pausedAt: new Date(), reason: 'a bad release' });
    await database.truncate();
    expect(await states.find()).toEqual([{ onlyRow: true, pausedAt: null, reason: null }]);
  });

  it.each(['users', 'video_jobs', 'notification_log', 'job_attempt_errors'])(
    'waits for a transaction that has locked %s and then locks all other tables',
    async (begun) => {
      await using database = await createTestDatabase();
      const dataSource = await database.dataSource();
      const work = dataSource.createQueryRunner();
      await work.startTransaction();
      await work.query(`LOCK TABLE ${begun} IN ROW EXCLUSIVE MODE`);
      const truncating = database.truncate();
      const isWaiting = async (): Promise<boolean> =>
        (await query(database.url, 'SELECT FROM pg_locks WHERE NOT granted')).length > 0;
      await until(isWaiting);
      for (const { tableName } of dataSource.entityMetadatas) {
        await work.query(`LOCK TABLE ${tableName} IN ROW EXCLUSIVE MODE`);
      }
      await work.commitTransaction();
      await work.release();
      await truncating;
    },
  );

  it('empties the tables while the application works', async () => {
    await using database = await createTestDatabase();
    const dataSource = await database.dataSource();
    const jobs = new JobService(dataSource);
    const over = new AbortController();
    const work = async (): Promise<void> => {
      while (!over.signal.aborted) {
        try {
          await videoJobFixture({ status: 'completed' }).persist(dataSource);
          await jobs.claimJobs({ limit: 2 });
        } catch (error) {
          // The database of the application may already be dropped. No other error may happen.
          if (!(error instanceof UserNotFoundError || error instanceof JobNotFoundError))
            throw error;
        }
      }
    };
    const working = Promise.all([work(), work(), work()]);
    try {
      for (let times = 0; times < 8; times += 1) await database.truncate();
    } finally {
      over.abort();
    }
    await working;
  });

  it('says which transaction it waits for', async () => {
    await using database = await createTestDatabase();
    const dataSource = await database.dataSource();
    const forgotten = dataSource.createQueryRunner();
    await forgotten.startTransaction();
    await forgotten.query('LOCK TABLE users IN ROW EXCLUSIVE MODE');
    await expect(truncateTables(dataSource, 100)).rejects.toThrow(/transaction that is still open/);
    await forgotten.rollbackTransaction();
    await forgotten.release();
    await database.truncate();
  });
});

const first = () =>
  class AddTags1800000001000 implements MigrationInterface {
    readonly name = 'AddTags1800000001000';
    async up(queryRunner: QueryRunner): Promise<void> {
      await queryRunner.query('CREATE TABLE tags (label text)');
    }
    async down(): Promise<void> {}
  };
const edited = () =>
  class AddTags1800000001000 implements MigrationInterface {
    readonly name = 'AddTags1800000001000';
    async up(queryRunner: QueryRunner): Promise<void> {
      await queryRunner.query('CREATE TABLE labels (label text)');
    }
    async down(): Promise<void> {}
  };

describe('migrations of the application', () => {
  it('are applied after those of this package', async () => {
    await using plain = await createTestDatabase();
    await using own = await createTestDatabase({ migrations: [first()] });
    expect(await exists(plain.url, 'tags')).toBe(false);
    expect(await exists(own.url, 'tags')).toBe(true);
    expect(await exists(own.url, 'video_jobs')).toBe(true);
    expect((await own.dataSource()).migrations).toHaveLength(frameForgeMigrations.length + 1);
  });

  it('make another template when a migration is edited', async () => {
    const options = unseen();
    await using before = await createTestDatabase({ ...options, migrations: [first()] });
    await using after = await createTestDatabase({ ...options, migrations: [edited()] });
    expect([await exists(before.url, 'tags'), await exists(before.url, 'labels')]).toEqual([
      true,
      false,
    ]);
    expect([await exists(after.url, 'tags'), await exists(after.url, 'labels')]).toEqual([
      false,
      true,
    ]);
  });

  it('run once, however many databases are made at the same time', async () => {
    let runs = 0;
    class CountRuns1800000002000 implements MigrationInterface {
      readonly name = 'CountRuns1800000002000';
      async up(): Promise<void> {
        runs += 1;
      }
      async down(): Promise<void> {}
    }
    const options = unseen({ migrations: [CountRuns1800000002000] });
    const databases = await Promise.all(
      Array.from({ length: 5 }, () => createTestDatabase(options)),
    );
    expect(new Set(databases.map(({ url }) => url)).size).toBe(5);
    expect(runs).toBe(1);
    await Promise.all(databases.map((database) => database.drop()));
  });

  it('go into the schema of the options', async () => {
    await using database = await createTestDatabase(unseen({ schema: 'video' }));
    expect(await exists(database.url, 'video.users')).toBe(true);
    expect(await exists(database.url, 'public.users')).toBe(false);
    const dataSource = await database.dataSource();
    await userFixture().persist(dataSource);
    await database.truncate();
    expect(await dataSource.getRepository(VideoJob).count()).toBe(0);
    expect(await dataSource.getRepository(User).count()).toBe(0);
  });

  it('leave nothing when one fails', async () => {
    await using bystander = await createTestDatabase();
    const databases = (): Promise<unknown[]> =>
      query(
        bystander.url,
        `SELECT datname FROM pg_database d, (SELECT current_database() AS own) c
        WHERE starts_with(datname, regexp_replace(own, '_\\d+$', ''))`,
      );
    expect(await databases()).toHaveLength(1);
    const failing = createTestDatabase(unseen({ migrations: [Broken1800000003000] }));
    await expect(failing).rejects.toThrow(MigrationError);
    await expect(failing).rejects.toThrow(/Broken1800000003000 failed/);
    expect(await databases()).toHaveLength(1);
  });
});
