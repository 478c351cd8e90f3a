import { Client } from 'pg';
import { run } from '../../src/cli/cli.commands.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { Boot, bootOnce, failedBoot } from '../connection/boot.js';
import { readCatalog } from '../schema/catalog.js';
import { expectedCatalog } from '../schema/expected-catalog.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';
import { until } from '../support/until.js';
import { DataSource } from 'typeorm';

let database: TestDatabase;
// These tests connect to the server itself: building an index while writes go on needs settings of a session, which a
// pooler does not keep.
let url: string;
beforeEach(async () => {
  database = await createDatabase();
  url = onServer(database.url);
  await migratePlainly(3);
  await query(
    url,
    `WITH u AS (INSERT INTO users (username, email, "passwordHash") VALUES ('a', 'a@b.c', 'x') RETURNING *)
     INSERT INTO video_jobs ("userId", filename, "videoUrl") SELECT "userId", 'f', 's3://b/k' FROM u`,
  );
});
afterEach(() => database.drop());

/** Runs the first migrations, as an earlier release did. */
async function migratePlainly(count: number): Promise<void> {
  const migrations = frameForgeMigrations.slice(0, count);
  const dataSource = await new DataSource({ type: 'postgres', url, migrations }).initialize();
  await dataSource.runMigrations({ transaction: 'each' });
  await dataSource.destroy();
}

async function migrateOnline(): Promise<{ code: number; lines: string[] }> {
  const { DATABASE_URL } = process.env;
  process.env['DATABASE_URL'] = url;
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  try {
    return { code: await run(['migrate', '--online'], { out: write, err: write }), lines };
  } finally {
    if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = DATABASE_URL;
  }
}

const DONE = {
  code: 0,
  lines: [
    'Migrated: AddQueueColumns1700000004000, CreateJobTables1700000005000, AddQueueIndexes1700000006000.',
  ],
};

async function expectWhole(): Promise<void> {
  const dataSource = await new Boot().open({ url, requireCurrentSchema: true });
  expect(await readCatalog(dataSource)).toEqual(expectedCatalog());
  const [row] = await dataSource.query(
    `SELECT count(*)::int AS "invalid" FROM pg_index WHERE NOT indisvalid`,
  );
  expect(row).toEqual({ invalid: 0 });
  await dataSource.destroy();
}

it('migrate --online ends with the same schema', async () => {
  expect(await migrateOnline()).toEqual(DONE);
  await expectWhole();
  expect((await migrateOnline()).lines).toEqual([
    'Nothing to do: all migrations of this release are applied.',
  ]);
});

it('migrate --online lets others write while it builds, whatever time limits the role has', async () => {
  await migratePlainly(5);
  const name = new URL(url).pathname.slice(1);
  await query(url, `ALTER DATABASE ${name} SET lock_timeout = '500ms'`);
  await query(url, `ALTER DATABASE ${name} SET statement_timeout = '1s'`);
  const blocker = new Client({ connectionString: url });
  await blocker.connect();
  await blocker.query(`BEGIN; UPDATE video_jobs SET filename = 'g'`);
  const migrating = migrateOnline();
  await until(
    async () =>
      (
        await query(
          url,
          `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
             AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND query_start < now() - interval '1.5 s'`,
        )
      ).length > 0,
  );
  await query(
    url,
    `INSERT INTO video_jobs ("userId", filename, "videoUrl") SELECT "userId", 'h', 's3://b/k' FROM users`,
  );
  await blocker.query('COMMIT');
  await blocker.end();
  expect(await migrating).toEqual({
    code: 0,
    lines: ['Migrated: AddQueueIndexes1700000006000.'],
  });
  await expectWhole();
});

it('a migration that waits for a lock does not block reads, and goes on when the lock is free', async () => {
  const report = new Client({ connectionString: url });
  await report.connect();
  await report.query('BEGIN; SELECT FROM video_jobs');
  const migrating = bootOnce({ url });
  const waiting = `SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted`;
  // The migration asks for its lock again and again. After each try, the statements that waited behind it go on.
  for (let tries = 0; tries < 2; tries += 1) {
    await until(async () => (await query(url, waiting)).length > 0);
    expect(await query(url, 'SELECT FROM video_jobs')).toHaveLength(1);
  }
  await report.query('COMMIT');
  await report.end();
  expect(await migrating).toEqual([expect.stringContaining('AddQueueIndexes1700000006000')]);
  await expectWhole();
});

it('migrate --online drops an invalid index that an earlier try has left', async () => {
  await migratePlainly(5);
  await query(url, `CREATE INDEX idx_jobs_pending ON video_jobs ("availableAt")`);
  await query(
    url,
    `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_jobs_pending'::regclass`,
  );
  // A boot names the problem.
  const { error } = await failedBoot({ url });
  expect(error.message).toMatch(
    /^The index idx_jobs_pending exists, but is invalid: CREATE INDEX .*\. Drop it, and migrate again: DROP INDEX CONCURRENTLY "idx_jobs_pending"/,
  );
  expect(await migrateOnline()).toMatchObject({ code: 0 });
  await expectWhole();
});

it('an existing index is kept if it is the right one', async () => {
  await migratePlainly(5);
  await query(
    url,
    `CREATE UNIQUE INDEX CONCURRENTLY uq_notifications_job_run ON notification_log ("jobId", "runNumber")`,
  );
  const file = `SELECT relfilenode FROM pg_class WHERE relname = 'uq_notifications_job_run'`;
  const before = await query(url, file);
  expect(await bootOnce({ url })).toEqual(['Migrated: AddQueueIndexes1700000006000.']);
  expect(await query(url, file)).toEqual(before);
  await expectWhole();
});

it.each([
  ['of other columns', `INDEX idx_jobs_leased ON video_jobs ("userId")`],
  ['of another table', `INDEX idx_jobs_leased ON users (username)`],
  ['that is not partial', `INDEX idx_jobs_leased ON video_jobs ("availableAt")`],
  [
    'that is not unique',
    `INDEX uq_notifications_job_run ON notification_log ("jobId", "runNumber")`,
  ],
])(
  'an index %s with the name of an index of this package is refused, and kept',
  async (_, index) => {
    await migratePlainly(5);
    await query(url, `CREATE ${index}`);
    const message =
      /^(frameforge-db: )?The index (idx_jobs_leased|uq_\w+) exists, but has another definition: /;
    const { error } = await failedBoot({ url });
    expect(error.message).toMatch(message);
    const { code, lines } = await migrateOnline();
    expect({ code, lines }).toEqual({ code: 1, lines: [expect.stringMatching(message)] });
    await query(url, `DROP INDEX ${/(idx|uq)_\w+/.exec(index)?.[0]}`);
    await bootOnce({ url });
    await expectWhole();
  },
);

it('an error says that an existing table belongs to another program', async () => {
  const other = await createDatabase();
  await query(other.url, 'CREATE TABLE users (id serial)');
  const { error } = await failedBoot({ url: other.url });
  expect(error.message).toMatch(
    /^The tables of the database differ from the tables that this package creates: the table users exists, but its migration is not recorded; users\."userId" is missing; .*If they belong to another program, give this package its own schema with the option `schema`/,
  );
  // The table of migrations was not created either.
  expect(
    await query(other.url, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`),
  ).toEqual([{ tablename: 'users' }]);
  expect(await bootOnce({ url: other.url, schema: 'frameforge' })).toHaveLength(1);
  await other.drop();
});
