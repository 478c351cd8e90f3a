import { Client } from 'pg';
import type { EntityManager } from 'typeorm';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { claimAnyInTurn, claimInTurn, Rotation } from '../../src/jobs/fair.claiming.js';
import { failSpent } from '../../src/jobs/job.claiming.sql.js';
import * as inTurn from '../../src/jobs/fair.claiming.sql.js';
import { watchedJobs } from '../../src/jobs/watching/job.watch.sql.js';
import { claimAny, claimLastTries, claimLost, claimPending } from '../../src/jobs/job.claiming.js';
import {
  completeJobsOfWorker,
  completionsTogether,
  settleJobs,
} from '../../src/jobs/job.settlement.js';
import type { JobHandle } from '../../src/jobs/job.inputs.js';
import type { Settlement } from '../../src/jobs/job.settlement.js';
import { JobStatus } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { onServer } from '../support/server.js';
import { HOUR_MS, result, video } from './fixtures.js';
import { tablesOf } from '../../src/schema/tables.js';
import {
  explain,
  indexesOf,
  mostRowsOfANode,
  QueryRecorder,
  scannedTables,
  withoutIndexes,
} from './plan.js';
import type { PlanNode } from './plan.js';

// With generic plans on large tables, the work of a statement depends on the size of the batch and not on that of the
// table.

const USERS = 20_000;
const JOBS = 200_000;
const BATCH = 1_000;
/**
 * Rows that a plan may read for a batch: an index also has entries for earlier versions of rows. A plan that
 * compares each row with each would read a million.
 */
const ABOUT_BATCH = 5 * BATCH;

let h: Harness;
let client: Client;
const recorder = new QueryRecorder();

beforeAll(async () => {
  h = await openHarness({ logger: recorder });
  client = new Client({ connectionString: onServer(h.url) });
  await client.connect();
  // The tests take what is due, and add and remove rows. The statistics of the planner stay those of the large tables,
  // whenever the server would renew them.
  for (const table of ['users', 'video_jobs', 'notification_log']) {
    await client.query(`ALTER TABLE ${table} SET (autovacuum_enabled = false)`);
  }
  await withoutIndexes(client, async () => {
    await client.query(
      `INSERT INTO users (username, email, "passwordHash")
       SELECT 'user' || i, 'user' || i || '@example.com', 'secret' FROM generate_series(1, ${USERS}) i`,
    );
    // Of 40 jobs, one is due, one is processing and one has failed. The others are completed.
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
  });
  await client.query('VACUUM ANALYZE');
}, 120_000);

afterAll(async () => {
  await client.end();
  await h.close();
});

/** The plan of the statement that a call sends. The call is rolled back. */
async function planOf(call: (manager: EntityManager) => Promise<unknown>): Promise<PlanNode[]> {
  const queryRunner = h.dataSource.createQueryRunner();
  await queryRunner.startTransaction();
  try {
    const sent = await recorder.sentBy(() => call(queryRunner.manager));
    await queryRunner.rollbackTransaction();
    return await explain(client, sent);
  } finally {
    await queryRunner.release();
  }
}

/** The ids of jobs of one status, as many as asked for. */
async function idsOf(status: string, limit: number): Promise<string[]> {
  const { rows } = await client.query<{ jobId: string }>(
    `SELECT "jobId" FROM video_jobs WHERE status = $1 LIMIT $2`,
    [status, limit],
  );
  return rows.map(({ jobId }) => jobId);
}

/** Returns the jobs of the worker that holds the most jobs. */
async function handles(limit: number): Promise<JobHandle[]> {
  const { rows } = await client.query<JobHandle>(
    `SELECT "jobId", "runNumber", "workerId" FROM video_jobs
     WHERE status = 'processing' AND "workerId" = (
       SELECT "workerId" FROM video_jobs WHERE status = 'processing'
       GROUP BY "workerId" ORDER BY count(*) DESC LIMIT 1)
     LIMIT $1`,
    [limit],
  );
  expect(rows).toHaveLength(limit);
  return rows;
}

const db = (): SqlRunner => new SqlRunner(h.dataSource, preparedByDefault());

/** A claim joins no transaction, so it is not rolled back. There are enough due jobs for all tests. */
const terms = { limit: BATCH, leaseMs: HOUR_MS, workerId: 'worker-2' };

it('jobs without a try left are failed by their primary key', async () => {
  const { text } = failSpent(tablesOf(h.dataSource));
  for (const status of ['pending', 'processing']) {
    const plan = await explain(client, { text, values: [await idsOf(status, BATCH), 1] });
    expect(new Set(scannedTables(plan))).toEqual(new Set(['processing_state']));
    expect(indexesOf(plan)).toContain('pk_video_jobs');
    expect(indexesOf(plan)).not.toContain('idx_jobs_status');
    expect(mostRowsOfANode(plan)).toBe(BATCH);
  }
});

describe('a claim', () => {
  it.each<[string, string, (maxAttempts: number) => Promise<unknown>]>([
    ['pending jobs', 'idx_jobs_pending', (n) => claimPending(db(), { ...terms, maxAttempts: n })],
    ['lost jobs', 'idx_jobs_leased', (n) => claimLost(db(), { ...terms, maxAttempts: n })],
    [
      'lost jobs but those of one try',
      'idx_jobs_leased',
      (n) => claimLost(db(), { ...terms, maxAttempts: n }, null, 4),
    ],
    ['last tries', 'idx_jobs_leased', () => claimLastTries(db(), { ...terms, maxAttempts: 2 })],
    ['any job', 'idx_jobs_leased', (n) => claimAny(db(), { ...terms, maxAttempts: n })],
    ['any job', 'idx_jobs_pending', (n) => claimAny(db(), { ...terms, maxAttempts: n })],
  ])(
    'of %s finds them by their index, and reads no more rows than it takes',
    async (_, index, claim) => {
      for (const maxAttempts of [5, 1]) {
        const plan = await planOf(() => claim(maxAttempts));
        expect(new Set(scannedTables(plan))).toEqual(new Set(['processing_state']));
        expect(indexesOf(plan)).toContain(index);
        expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(ABOUT_BATCH);
      }
    },
  );
});

describe('a claim in turn', () => {
  const USER_INDEX = 'idx_jobs_pending_user';
  const FIRST = '00000000-0000-0000-0000-000000000000';
  const LAST = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

  // The claims of the tests before have taken all due jobs.
  beforeAll(async () => {
    await client.query(
      `INSERT INTO video_jobs ("userId", filename, "videoUrl", "availableAt")
       SELECT "userId", 'turn.mp4', 's3://videos/cat.mp4', now() - i * interval '1 ms'
       FROM (SELECT "userId" FROM users LIMIT 2000) AS u, generate_series(1, 10) AS i`,
    );
  });
  afterAll(() => client.query(`DELETE FROM video_jobs WHERE filename = 'turn.mp4'`));

  it.each([
    ['of one', claimInTurn, 1],
    ['of two', claimInTurn, 2],
    ['of a thousand', claimInTurn, BATCH],
    ['of one, after lost jobs,', claimAnyInTurn, 1],
    ['of two, after lost jobs,', claimAnyInTurn, 2],
    ['of a thousand, after lost jobs,', claimAnyInTurn, BATCH],
  ])('%s finds each user by the index', async (_, claim, limit) => {
    const plan = await planOf(async () => {
      const claimed = await claim(db(), { ...terms, limit, maxAttempts: 5 }, new Rotation());
      expect('items' in claimed ? claimed.items : claimed).toHaveLength(limit);
    });
    expect(new Set(scannedTables(plan))).toEqual(new Set(['processing_state']));
    expect(indexesOf(plan)).toContain(USER_INDEX);
    expect(indexesOf(plan)).not.toContain('idx_jobs_status');
    expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(5 * limit);
  });

  it('passes over users whose jobs are all scheduled, up to a number', async () => {
    await client.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" + interval '1 day' WHERE filename = 'turn.mp4'`,
    );
    // This user comes after all of them. Without a due job, the claim would look at no user.
    await client.query(
      `INSERT INTO users ("userId", username, email, "passwordHash")
       VALUES ($1, 'last', 'last@example.com', 'secret')`,
      [LAST],
    );
    await client.query(
      `INSERT INTO video_jobs ("userId", filename, "videoUrl") VALUES ($1, 'a.mp4', 's3://a/a.mp4')`,
      [LAST],
    );
    const text = inTurn.claimInTurn(tablesOf(h.dataSource)).text;
    const plan = await explain(client, { text, values: [1, HOUR_MS, 'worker-2', 5, FIRST, 1] });
    expect(scannedTables(plan)).toEqual(['processing_state']);
    // These are 256 users, and the one where the claim begins.
    expect(mostRowsOfANode(plan)).toBe(257);
    await client.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" - interval '1 day' WHERE filename = 'turn.mp4'`,
    );
  });

  it('with a limit of running jobs counts no more jobs than the limit', async () => {
    const { rows } = await client.query<{ userId: string }>(
      `SELECT DISTINCT "userId" FROM video_jobs WHERE status = 'pending' LIMIT 100`,
    );
    const users = rows.map(({ userId }) => userId);
    const tables = tablesOf(h.dataSource);
    const locking = await explain(client, {
      text: inTurn.lockUsersInTurn(tables).text,
      values: [100, FIRST, 132, 3],
    });
    expect(scannedTables(locking)).toEqual(['processing_state']);
    expect(indexesOf(locking)).toContain(USER_INDEX);
    expect(mostRowsOfANode(locking)).toBeLessThanOrEqual(500);
    const claiming = await explain(client, {
      text: inTurn.claimOfLockedUsers(tables).text,
      values: [100, HOUR_MS, 'worker-2', 5, users, 100, 3],
    });
    expect(scannedTables(claiming)).toEqual([]);
    expect(indexesOf(claiming)).toContain(USER_INDEX);
    expect(mostRowsOfANode(claiming)).toBeLessThanOrEqual(500);
  });
});

describe('settleJobs', () => {
  it.each<[string, number, Omit<Settlement, 'handle'>]>([
    ['completes', 1, { next: JobStatus.COMPLETED, result }],
    ['completes', BATCH, { next: JobStatus.COMPLETED, result }],
    ['fails', BATCH, { next: JobStatus.FAILED, errorMessage: 'no video stream' }],
  ])(
    '%s %i jobs with their notifications, by indexes and without comparing each row with each',
    async (_, size, outcome) => {
      const settlements = (await handles(size)).map((handle) => ({ handle, ...outcome }));
      const plan = await planOf((manager) =>
        settleJobs(db(), 'completeJobs', 'completed', settlements, { manager }),
      );
      expect(scannedTables(plan)).toEqual([]);
      expect(indexesOf(plan)).toContain('pk_video_jobs');
      expect(mostRowsOfANode(plan)).toBe(size);
    },
  );
});

it('extends a thousand leases by their primary key', async () => {
  const held = await handles(BATCH);
  const plan = await planOf(() => h.jobs.extendLeases(held, { leaseMs: HOUR_MS }));
  expect(scannedTables(plan)).toEqual([]);
  expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(ABOUT_BATCH);
});

const completions = async (size: number) =>
  (await handles(size)).map((handle) => ({ handle, result }));

describe('completions that share a statement', () => {
  // These calls commit. There are enough processing jobs for all tests.
  it.each([1, BATCH])(
    'of one worker use the primary key for %i jobs, not an index by status',
    async (size) => {
      const batch = await completions(size);
      const plan = await planOf(async () => {
        const { workerId } = batch[0]!.handle;
        expect(await completeJobsOfWorker(db(), workerId, batch)).toEqual(batch.map(() => true));
      });
      expect(scannedTables(plan)).toEqual([]);
      expect(indexesOf(plan)).toContain('pk_video_jobs');
      expect(indexesOf(plan)).not.toContain('idx_jobs_status');
      expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(size);
    },
  );

  it('of several callers use the primary key, not an index by status', async () => {
    const batch = await completions(100);
    const together = completionsTogether(db());
    const plan = await planOf(() => Promise.all(batch.map((one) => together.run(one))));
    expect(scannedTables(plan)).toEqual([]);
    expect(indexesOf(plan)).toContain('pk_video_jobs');
    expect(indexesOf(plan)).not.toContain('idx_jobs_status');
    expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(batch.length);
  });
});

it('creates a thousand jobs without reading the users from end to end', async () => {
  const { rows } = await client.query<{ userId: string }>(`SELECT "userId" FROM users LIMIT 100`);
  const inputs = Array.from({ length: BATCH }, (_, index) => ({
    ...video,
    userId: String(rows[index % 100]?.userId),
  }));
  const plan = await planOf((manager) => h.jobs.createJobs(inputs, { manager }));
  expect(scannedTables(plan)).toEqual([]);
  expect(mostRowsOfANode(plan)).toBe(BATCH);
});

/** The plan of a page that begins after a thousand jobs. */
async function deepPlan(userId?: string): Promise<PlanNode[]> {
  const filter = userId === undefined ? {} : { userId };
  const { nextCursor: cursor } = await h.jobs.listJobs({ ...filter, limit: 1000 });
  return planOf((manager) => h.jobs.listJobs({ ...filter, cursor }, { manager }));
}

describe('a page', () => {
  const PAGE = 51;

  it('of listJobs costs the same, however many jobs come before it', async () => {
    for (const plan of [
      await planOf((manager) => h.jobs.listJobs({}, { manager })),
      await deepPlan(),
    ]) {
      expect([...indexesOf(plan)]).toEqual(['idx_jobs_created_at']);
      // Jobs that were created at the same time have the same place in the index.
      expect(mostRowsOfANode(plan)).toBeLessThan(2 * PAGE);
    }
  });

  it('of listJobs by user costs the same, however many jobs come before it', async () => {
    const { userId } = await h.user();
    await client.query(
      `UPDATE video_jobs SET "userId" = $1 WHERE "jobId" = ANY(ARRAY(
         SELECT "jobId" FROM video_jobs WHERE status = 'completed' LIMIT 10000))`,
      [userId],
    );
    const first = await planOf((manager) => h.jobs.listJobs({ userId }, { manager }));
    for (const plan of [first, await deepPlan(userId)]) {
      expect([...indexesOf(plan)]).toEqual(['idx_jobs_user_created_at']);
      expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(PAGE);
    }
  });

  it('of listJobs by user and status reads only jobs of that user', async () => {
    const { rows } = await client.query<{ userId: string }>(
      `SELECT "userId" FROM video_jobs GROUP BY "userId" HAVING count(*) = ${JOBS / USERS} LIMIT 1`,
    );
    const filter = { userId: String(rows[0]?.userId), status: JobStatus.COMPLETED };
    const plan = await planOf((manager) => h.jobs.listJobs(filter, { manager }));
    expect(scannedTables(plan)).toEqual([]);
    expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(JOBS / USERS);
  });

  it('of listNotifications by job reads only notifications of that job', async () => {
    const [jobId] = await idsOf('completed', 1);
    const filter = { jobId: String(jobId) };
    const plan = await planOf((manager) => h.notifications.listNotifications(filter, { manager }));
    expect(scannedTables(plan)).toEqual([]);
    expect(mostRowsOfANode(plan)).toBe(1);
  });
});

it('claims and settles deliveries by their indexes', async () => {
  const claimed = await planOf(() => h.notifications.claimNotifications({ limit: BATCH }));
  expect(scannedTables(claimed)).toEqual([]);
  expect(indexesOf(claimed)).toContain('idx_notifications_claimable');
  expect(mostRowsOfANode(claimed)).toBeLessThanOrEqual(ABOUT_BATCH);
  const { rows } = await client.query<{ notificationId: string }>(
    `SELECT "notificationId" FROM notification_log
     WHERE "deliveryStatus" = 'pending' AND "deliveryNumber" = 0 LIMIT 1`,
  );
  const handle = { notificationId: String(rows[0]?.notificationId), deliveryNumber: 0 };
  const settled = await planOf((manager) => h.notifications.markSent(handle, { manager }));
  expect(scannedTables(settled)).toEqual([]);
  expect(mostRowsOfANode(settled)).toBe(1);
});

it('a read for watchers reads only the watched jobs, and the new jobs of each watched user', async () => {
  const ids = await idsOf('completed', BATCH);
  const { rows } = await client.query<{ userId: string; createdAt: Date }>(
    `SELECT "userId", max("createdAt") AS "createdAt" FROM video_jobs GROUP BY 1 LIMIT 100`,
  );
  const users = rows.map(({ userId }) => userId);
  const newest = rows.map(({ createdAt }) => createdAt.toISOString());
  const after = users.map((_, index) => (index < 50 ? null : newest[index]));
  const known = ids.map((_, index) => (index % 2 === 0 ? null : 'completed 1  '));
  const values = [ids, known, users, after, users.map(() => ids[0]), 100, BATCH];
  const plan = await planOf((manager) => db().run('watch', watchedJobs, values, { manager }));
  expect(scannedTables(plan)).toEqual([]);
  expect(indexesOf(plan)).toEqual(new Set(['idx_jobs_user_created_at', 'pk_video_jobs']));
  expect(mostRowsOfANode(plan)).toBeLessThan(2 * ABOUT_BATCH);
});
