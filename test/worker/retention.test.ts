import type { INestApplicationContext } from '@nestjs/common';
import { SWEEP_LOCK } from '../../src/jobs/job.pruning.sql.js';
import { FrameForgeWorker } from '../../src/worker/index.js';
import type { RetentionOptions } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker } from './app.js';
import { World } from './world.js';

const DAY_MS = 86_400_000;

let world: World;
const apps: INestApplicationContext[] = [];
beforeAll(async () => {
  world = await World.open();
});
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
  await world.clear();
});
afterAll(() => world.close());

const boot = async (retention: RetentionOptions): Promise<INestApplicationContext> => {
  const app = await bootWorker(world.harness.url, {}, { retention, pollMs: 20 });
  apps.push(app);
  return app;
};

/** Creates jobs that ended some days ago. @param delivery - the delivery status of their notifications */
async function ended(
  status: 'completed' | 'failed',
  days: number,
  count = 1,
  delivery: 'sent' | 'pending' = 'sent',
): Promise<void> {
  const { dataSource } = world.harness;
  const { userId } = await world.harness.user();
  await dataSource.query(
    `WITH job AS (
       INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "runNumber", "createdAt", "completedAt")
       SELECT $1, $2::text || $3::integer, 's3://a/b', $2, 1, now() - $3 * interval '1 day',
         now() - $3 * interval '1 day'
       FROM generate_series(1, $4) RETURNING "jobId"
     )
     INSERT INTO notification_log
       ("jobId", "notificationType", "recipientEmail", "deliveryStatus", "availableAt")
     SELECT "jobId", 'success', 'a@b.c', $5, '9999-01-01' FROM job`,
    [userId, status, days, count, delivery],
  );
}

async function left(): Promise<string[]> {
  const rows: { filename: string }[] = await world.harness.dataSource.query(
    'SELECT filename FROM video_jobs ORDER BY filename',
  );
  return rows.map(({ filename }) => filename);
}

it('removes the jobs whose time is over, and nothing else', async () => {
  await ended('completed', 8, 450);
  await ended('completed', 6);
  await ended('failed', 31);
  await ended('failed', 8);
  const [pending] = await world.create('z');
  await world.harness.dataSource.query(
    `UPDATE video_jobs SET "createdAt" = now() - interval '1 year', "availableAt" = '9999-01-01'
     WHERE "jobId" = $1`,
    [pending!.jobId],
  );
  await boot({ completedMs: 7 * DAY_MS, failedMs: 30 * DAY_MS });
  await until(async () => (await left()).length === 3);
  expect(await left()).toEqual(['completed6', 'failed8', 'z']);
});

it('keeps jobs of a status without a time for ever, and jobs whose notification is still pending', async () => {
  await ended('completed', 8);
  await ended('failed', 4_000);
  await ended('completed', 9, 1, 'pending');
  await boot({ completedMs: 0 });
  await until(async () => (await left()).length === 2);
  expect(await left()).toEqual(['completed9', 'failed4000']);
});

it('only one worker removes jobs at a time, and rows that others have locked are passed over', async () => {
  await ended('completed', 8, 3);
  const { dataSource } = world.harness;
  const [held] = await dataSource.query(`SELECT "jobId" FROM video_jobs LIMIT 1`);
  await dataSource.transaction(async (manager) => {
    // While another worker removes jobs, it holds this lock.
    await manager.query(
      `SELECT pg_advisory_xact_lock(${SWEEP_LOCK}, 'video_jobs'::regclass::oid::integer)`,
    );
    await boot({ completedMs: DAY_MS });
    const [job] = await world.create('new');
    // Meanwhile, the worker still runs jobs.
    expect((await world.final(job!)).status).toBe('completed');
    // Its end waits for its first look for jobs to remove, which may take a while on a busy machine.
    await apps.pop()?.close();
    expect(await left()).toHaveLength(4);
  });
  await dataSource.transaction(async (manager) => {
    await manager.query(`SELECT FROM video_jobs WHERE "jobId" = $1 FOR NO KEY UPDATE`, [
      held.jobId,
    ]);
    await boot({ completedMs: DAY_MS });
    await until(async () => (await left()).length === 2);
  });
});

it('ends with its application, also while it removes jobs', async () => {
  await ended('completed', 8, 3_000);
  const app = await boot({ completedMs: DAY_MS });
  await until(async () => (await left()).length < 3_000);
  await app.close();
  const after = (await left()).length;
  expect(after).toBeGreaterThan(0);
  expect(app.get(FrameForgeWorker).stats().database).toBe('up');
  expect((await left()).length).toBe(after);
});
