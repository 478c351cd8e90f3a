import { Client } from 'pg';
import * as statements from '../../src/jobs/job.sql.js';
import * as notificationStatements from '../../src/notifications/notification.sql.js';
import type { Tables } from '../../src/schema/tables.js';
import { tablesOf } from '../../src/schema/tables.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { explain, indexesOf, mostRowsOfANode, scannedTables } from './plan.js';

// In the generic plans of large tables, the work follows the batch, not the table.

const USERS = 20_000;
const JOBS = 200_000;
const BATCH = 1_000;
/** An index also has entries of rows' earlier versions; each with each would be a million. */
const ABOUT_BATCH = 5 * BATCH;

let h: Harness;
let client: Client;
let tables: Tables;

beforeAll(async () => {
  h = await openHarness();
  tables = tablesOf(h.dataSource);
  client = new Client({ connectionString: h.url });
  await client.connect();
  await client.query(
    `INSERT INTO users (username, email, "passwordHash")
     SELECT 'user' || i, 'user' || i || '@example.com', 'secret' FROM generate_series(1, ${USERS}) i`,
  );
  // 1 in 40 is due, 1 in 40 in a worker's hands, 1 in 40 failed; the others are completed.
  await client.query(
    `WITH owner AS MATERIALIZED (SELECT array_agg("userId") AS ids FROM users)
     INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "createdAt", "startedAt",
       "completedAt", "availableAt", "runNumber", "workerId", attempts)
     SELECT ids[1 + i % ${USERS}], 'cat.mp4', 's3://videos/cat.mp4', s.status,
       now() - i * interval '1 s', now(), now(), now() - i * interval '1 ms',
       1, CASE s.status WHEN 'processing' THEN 'worker-1' END, 1
     FROM owner, generate_series(1, ${JOBS}) i
     CROSS JOIN LATERAL (SELECT CASE i % 40 WHEN 0 THEN 'pending' WHEN 1 THEN 'processing'
       WHEN 2 THEN 'failed' ELSE 'completed' END) AS s(status)`,
  );
  await client.query(
    `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "runNumber",
       "deliveryStatus")
     SELECT "jobId", CASE status WHEN 'failed' THEN 'failure' ELSE 'success' END, 'a@example.com', 1,
       CASE status WHEN 'failed' THEN 'pending' ELSE 'sent' END
     FROM video_jobs WHERE status IN ('completed', 'failed')`,
  );
  await client.query('VACUUM ANALYZE');
}, 120_000);

afterAll(async () => {
  await client.end();
  await h.close();
});

/** The ids of jobs of one status, as many as asked for. */
async function idsOf(status: string, limit: number): Promise<string[]> {
  const { rows } = await client.query<{ jobId: string }>(
    `SELECT "jobId" FROM video_jobs WHERE status = $1 LIMIT $2`,
    [status, limit],
  );
  return rows.map(({ jobId }) => jobId);
}

const claim = (maxAttempts: number) =>
  explain(client, statements.claimJobs(tables), [BATCH, 30_000, 'w-2', maxAttempts, '-infinity']);

/** A batch of the same settlement for each of the jobs. */
const settle = (ids: string[], outcome: (string | number | null)[]) =>
  explain(client, statements.settleJobs(tables), [
    ids,
    ...[1, 'worker-1', ...outcome].map((value) => ids.map(() => value)),
  ]);
const COMPLETED = ['completed', 's3://frames/cat.zip', 1, null, 0, 0];
const FAILED = ['failed', null, null, 'no video stream', 0, 0];

describe('claimJobs', () => {
  it('finds what is due by its index, and looks at no more than it claims', async () => {
    const plan = await claim(5);
    expect(scannedTables(plan)).not.toContain('video_jobs');
    expect(indexesOf(plan)).toContain('idx_jobs_claimable');
    expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(ABOUT_BATCH);
  });

  it('fails what has no try left without reading the tables from end to end', async () => {
    const plan = await claim(1);
    expect(scannedTables(plan)).toEqual([]);
    expect(indexesOf(plan)).toContain('uq_notifications_job_run');
    expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(ABOUT_BATCH);
  });
});

describe('settleJobs', () => {
  it.each([
    ['completes', 1, COMPLETED],
    ['completes', BATCH, COMPLETED],
    ['fails', BATCH, FAILED],
  ])(
    '%s %i, with their notifications, by indexes and without comparing each with each',
    async (_, size, outcome) => {
      const plan = await settle(await idsOf('processing', size), outcome);
      expect(scannedTables(plan)).toEqual([]);
      expect(indexesOf(plan)).toContain('pk_video_jobs');
      expect(mostRowsOfANode(plan)).toBe(size);
    },
  );
});

it('extends a thousand leases by their primary key', async () => {
  const ids = await idsOf('processing', BATCH);
  const plan = await explain(client, statements.extendLeases(tables), [
    ids,
    ids.map(() => 1),
    ids.map(() => 'worker-1'),
    30_000,
  ]);
  expect(scannedTables(plan)).toEqual([]);
  expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(ABOUT_BATCH);
});

it('creates a thousand jobs without reading the users from end to end', async () => {
  const { rows } = await client.query<{ userId: string }>(`SELECT "userId" FROM users LIMIT 100`);
  const users = rows.map(({ userId }) => userId);
  const ids = Array.from({ length: BATCH }, (_, index) => {
    return `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
  });
  const plan = await explain(client, statements.createJobs(tables), [
    users,
    ids,
    ids.map((_, index) => users[index % users.length] ?? null),
    ids.map(() => 'cat.mp4'),
    ids.map(() => 's3://videos/cat.mp4'),
    ids.map(() => null),
  ]);
  expect(scannedTables(plan)).toEqual([]);
  expect(mostRowsOfANode(plan)).toBe(BATCH);
});

describe('a page', () => {
  const PAGE = 51;
  const OLD = new Date(Date.now() - (JOBS / 2) * 1000).toISOString();
  const MAX_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

  it.each([
    [{ userId: false, status: false }, 'idx_jobs_created_at'],
    [{ userId: true, status: false }, 'idx_jobs_user_created_at'],
  ])(
    'of listJobs by %j comes from %s, and costs the same however deep it is',
    async (filters, index) => {
      // A user with so many jobs that a sort of them all would show.
      const { rows } = await client.query<{ userId: string }>(`SELECT "userId" FROM users LIMIT 1`);
      const userId = String(rows[0]?.userId);
      await client.query('BEGIN');
      await client.query(
        `UPDATE video_jobs SET "userId" = $1 WHERE "jobId" = ANY(ARRAY(
         SELECT "jobId" FROM video_jobs WHERE status = 'completed' LIMIT 10000))`,
        [userId],
      );
      const values = [
        ...(filters.userId ? [userId] : []),
        ...(filters.status ? ['completed'] : []),
      ];
      for (const after of [[], [OLD, MAX_ID]]) {
        const statement = statements.listJobs(filters, after.length > 0)(tables);
        const plan = await explain(client, statement, [PAGE, ...values, ...after]);
        expect([...indexesOf(plan)]).toEqual([index]);
        // The sort of those that were created at the same time reads one further.
        expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(PAGE + 1);
      }
    },
  );

  it('of listJobs by user and status reads that user alone', async () => {
    const { rows } = await client.query<{ userId: string }>(
      `SELECT "userId" FROM users OFFSET 9 LIMIT 1`,
    );
    const statement = statements.listJobs({ userId: true, status: true }, false)(tables);
    const plan = await explain(client, statement, [PAGE, String(rows[0]?.userId), 'completed']);
    expect(scannedTables(plan)).toEqual([]);
    expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(JOBS / USERS);
  });

  it('of listNotifications by job comes from that job alone', async () => {
    const [jobId] = await idsOf('completed', 1);
    const filters = { jobId: true, deliveryStatus: false };
    const statement = notificationStatements.listNotifications(filters, false)(tables);
    const plan = await explain(client, statement, [PAGE, String(jobId)]);
    expect(scannedTables(plan)).toEqual([]);
    expect(mostRowsOfANode(plan)).toBe(1);
  });
});

it('claims and settles deliveries by their indexes', async () => {
  const claimed = await explain(client, notificationStatements.claimNotifications(tables), [
    BATCH,
    30_000,
    5,
    '-infinity',
  ]);
  expect(scannedTables(claimed)).toEqual([]);
  expect(indexesOf(claimed)).toContain('idx_notifications_claimable');
  expect(mostRowsOfANode(claimed)).toBeLessThanOrEqual(ABOUT_BATCH);
  const { rows } = await client.query<{ id: string }>(
    `SELECT "notificationId" AS id FROM notification_log WHERE "deliveryStatus" = 'pending' LIMIT 1`,
  );
  const settled = await explain(client, notificationStatements.settleNotification(tables), [
    String(rows[0]?.id),
    0,
    'sent',
    null,
    0,
  ]);
  expect(scannedTables(settled)).toEqual([]);
  expect(mostRowsOfANode(settled)).toBe(1);
});
