import { MigrationError } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import { Boot, bootOnce, failedBoot } from '../connection/boot.js';
import { readCatalog } from '../schema/catalog.js';
import { expectedCatalog } from '../schema/expected-catalog.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';
import { everything, frameforgeDb, older } from './older.fixture.js';

// Here, databases of other applications have tables and migrations with the names of this package.

const KINDS = ['snake-case', 'camel-case-without-zones', 'synchronized', 'from-a-script'];

let database: TestDatabase;
let url: string;
beforeEach(async () => {
  database = await createDatabase();
  url = database.url;
});
afterEach(() => database.drop());

const load = (kind: string): Promise<unknown> => query(url, older(kind));
const cli = (...args: string[]) => frameforgeDb(url, ...args);

/** Reads the values that an adoption must keep, whichever names the columns have. */
async function values(names: 'before' | 'after', zone: string): Promise<unknown> {
  const [{ snake } = {}] = await query(
    url,
    `SELECT count(*) > 0 AS "snake" FROM information_schema.columns WHERE column_name = 'user_id'`,
  );
  const column = (name: string): string =>
    snake === true ? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) : `"${name}"`;
  const types = await query(
    url,
    `SELECT table_name || '.' || column_name AS "name" FROM information_schema.columns
     WHERE data_type = 'timestamp without time zone'`,
  );
  const time = (table: string, name: string): string => {
    const isLocal = types.some(
      (row) => row['name'] === `${table}.${column(name).replaceAll('"', '')}`,
    );
    const at = isLocal ? ` AT TIME ZONE '${zone}'` : '';
    return `extract(epoch FROM date_trunc('milliseconds', ${column(name)}${at}))::text AS "${name}"`;
  };
  const held = names === 'before' ? `status = 'processing'` : 'false';
  return Promise.all([
    query(
      url,
      `SELECT ${column('userId')} AS id, username, email, ${column('passwordHash')} AS hash,
         ${time('users', 'createdAt')}, ${time('users', 'updatedAt')} FROM users ORDER BY 1`,
    ),
    query(
      url,
      `SELECT ${column('jobId')} AS id, ${column('userId')} AS "user", filename,
         CASE WHEN ${held} THEN 'pending' ELSE status::text END AS status,
         ${column('videoUrl')} AS url, ${column('resultUrl')} AS result, ${column('frameCount')} AS frames,
         ${column('errorMessage')} AS error, ${time('video_jobs', 'createdAt')},
         ${time('video_jobs', 'completedAt')} FROM video_jobs ORDER BY 1`,
    ),
    query(
      url,
      `SELECT ${column('notificationId')} AS id, ${column('jobId')} AS job, ${column('retryCount')} AS retries,
         ${time('notification_log', 'createdAt')}, ${time('notification_log', 'sentAt')}
       FROM notification_log ORDER BY 1`,
    ),
  ]);
}

describe.each(KINDS)('an older database: %s', (kind) => {
  beforeEach(() => load(kind));

  it('is refused by a boot and by migrate, status and check, and not changed', async () => {
    const before = await everything(url);
    for (const options of [{}, { migrationsRun: false }, { requireCurrentSchema: true }]) {
      const { error } = await failedBoot({ url, ...options });
      expect(error).toBeInstanceOf(MigrationError);
      expect(error.message).toMatch(
        /^The tables of the database differ from the tables that this package creates: .*users\."createdAt" is (missing|timestamp without time zone).*npx frameforge-db adopt/,
      );
    }
    for (const command of ['migrate', 'status', 'check']) {
      const { code, lines } = await cli(command);
      expect(code).toBe(1);
      expect(lines.join('\n')).toContain('npx frameforge-db adopt');
    }
    const { code, lines } = await cli('adopt', '--time-zone', 'UTC');
    expect(code).toBe(0);
    expect(lines).toContain('users: 5 rows');
    expect(lines).toContain('video_jobs: 20 rows');
    expect(lines.at(-1)).toMatch(/^Nothing was changed\. Stop all services, back up/);
    expect(await everything(url)).toEqual(before);
  });

  it.each(['UTC', 'America/Sao_Paulo'])(
    'is adopted with all rows and values, in %s',
    async (zone) => {
      const before = await values('before', zone);
      const { code, lines } = await cli('adopt', '--time-zone', zone, '--yes');
      expect({ code, last: lines.at(-1) }).toEqual({
        code: 0,
        last: 'Adopted. Now run npx frameforge-db migrate, and then npx frameforge-db check.',
      });
      expect(await values('after', zone)).toEqual(before);
      expect(await cli('adopt', '--time-zone', zone, '--yes')).toEqual({
        code: 0,
        lines: ['Nothing to do: the database has no older tables.'],
      });
      expect(await cli('migrate')).toMatchObject({ code: 0 });
      expect(await cli('check')).toEqual({
        code: 0,
        lines: ['The schema agrees with the entities, and no migration is pending.'],
      });
      await query(
        url,
        `DROP TABLE IF EXISTS users_before_adoption, notification_log_before_adoption;
       DROP FUNCTION IF EXISTS touch(); DROP TYPE IF EXISTS job_status`,
      );
      const dataSource = await new Boot().open({ url, requireCurrentSchema: true });
      expect(await readCatalog(dataSource)).toEqual(expectedCatalog());
      const jobs = new JobService(dataSource);
      const notifications = new NotificationService(dataSource);
      // 5 jobs were pending, and 5 were processing.
      const claimed = await jobs.claimJobs({ limit: 50 });
      expect(claimed).toHaveLength(10);
      const [first] = claimed;
      if (first === undefined) throw new Error('Nothing was claimed.');
      await jobs.completeJob(first, { resultUrl: 's3://b/r', frameCount: 1 });
      // Notifications that were pending are held, so that none is sent twice.
      expect(await notifications.claimNotifications({ limit: 50 })).toMatchObject([
        { jobId: first.jobId },
      ]);
      expect((await jobs.listJobs({ limit: 50 })).jobs).toHaveLength(20);
      await dataSource.destroy();
    },
  );
});

it('with two options, processing jobs and pending notifications stay as they are', async () => {
  await load('from-a-script');
  const choices = ['--processing', 'keep', '--pending-notifications', 'send'];
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes', ...choices)).toMatchObject({ code: 0 });
  expect(
    await query(
      url,
      `SELECT (SELECT count(*)::int FROM video_jobs WHERE status = 'processing') AS "processing",
         (SELECT count(*)::int FROM notification_log WHERE "deliveryStatus" = 'pending') AS "pending",
         (SELECT count(*)::int FROM notification_log JOIN video_jobs USING ("jobId")
          WHERE ("notificationType" = 'success') = (status = 'completed')) AS "told",
         (SELECT count(*)::int FROM users_before_adoption WHERE full_name LIKE 'User %') AS "names",
         (SELECT count(*)::int FROM notification_log_before_adoption
          WHERE type = 'email' AND subject = 'Your video') AS "subjects"`,
    ),
  ).toEqual([{ processing: 5, pending: 5, told: 10, names: 5, subjects: 10 }]);
});

it('a database that cannot be adopted is refused with the reason, and not changed', async () => {
  await load('snake-case');
  expect(await cli('adopt', '--time-zone', 'Mars/Olympus', '--yes')).toMatchObject({
    code: 1,
    lines: [expect.stringContaining('time zone "Mars/Olympus" not recognized')],
  });
  await query(
    url,
    `ALTER TABLE users DROP CONSTRAINT "UQ_users_email_snake"; UPDATE users SET email = 'x'`,
  );
  const before = await everything(url);
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toMatchObject({
    code: 1,
    lines: [
      expect.stringContaining(
        'users."email" must be unique, but several rows have the same value, for 1 value',
      ),
    ],
  });
  expect(await everything(url)).toEqual(before);
  await query(url, 'ALTER TABLE users DROP COLUMN username');
  expect((await cli('adopt', '--time-zone', 'UTC')).lines).toEqual([
    expect.stringContaining('users has no column for "username"'),
  ]);
});

it('an older database in a schema of its own is adopted there', async () => {
  await query(
    url,
    `CREATE SCHEMA "the app"; SET search_path = "the app";
     ${older('from-a-script')}`,
  );
  const there = new URL(url);
  there.searchParams.set('schema', 'the app');
  url = there.href;
  expect(await cli('migrate')).toMatchObject({ code: 1 });
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toMatchObject({ code: 0 });
  expect(await cli('migrate')).toMatchObject({ code: 0 });
  expect(await cli('check')).toMatchObject({ code: 0 });
  expect(await query(url, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`)).toEqual(
    [],
  );
});

it('there is nothing to adopt in an empty database, nor in one of this package', async () => {
  const nothing = { code: 0, lines: ['Nothing to do: the database has no older tables.'] };
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toEqual(nothing);
  expect(await query(url, `SELECT FROM pg_tables WHERE schemaname = 'public'`)).toEqual([]);
  await bootOnce({ url });
  // An index or a column that an operator added is no sign of an older database.
  await query(
    url,
    `CREATE INDEX mine ON users ("createdAt"); ALTER TABLE users ADD COLUMN phone text`,
  );
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toEqual(nothing);
  await query(url, `ALTER TABLE users ALTER "createdAt" TYPE timestamp`);
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toEqual({
    code: 1,
    lines: [
      expect.stringMatching(
        /cannot be adopted, because these migrations have already run on it: AddQueueColumns\w+, .*\. Correct these differences by hand: users\."createdAt" is timestamp/,
      ),
    ],
  });
});

it('a column that somebody made wider is no sign of an older database', async () => {
  await bootOnce({ url });
  await query(
    url,
    `ALTER TABLE video_jobs ALTER filename TYPE varchar(500), ALTER "progressMessage" TYPE text;
     ALTER TABLE users ADD COLUMN phone text`,
  );
  expect(await bootOnce({ url, requireCurrentSchema: true })).toEqual([]);
});
