import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { DeliveryStatus } from '../../src/schema/entities/index.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, makers, openPeer, result, video, withoutWaiting } from './fixtures.js';
import type { Peer } from './fixtures.js';
import { explain, mostRowsOfANode, QueryRecorder } from './plan.js';
import { outcomes } from './race.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
  make = makers(h);
});
beforeEach(() => h.dataSource.query('DELETE FROM users'));
afterAll(async () => {
  await other.close();
  await h.close();
});

const NOW = new Date('9999-01-01');
const left = async (): Promise<string[]> => {
  const rows: { jobId: string }[] = await h.dataSource.query('SELECT "jobId" FROM video_jobs');
  return rows.map(({ jobId }) => jobId).toSorted();
};
const ids = (jobs: { jobId: string }[]): string[] => jobs.map(({ jobId }) => jobId).toSorted();

/** Moves all times of a job a day into the past. */
async function aged(job: VideoJob): Promise<VideoJob> {
  await h.dataSource.query(
    `UPDATE video_jobs SET "createdAt" = "createdAt" - interval '1 day',
       "completedAt" = "completedAt" - interval '1 day' WHERE "jobId" = $1`,
    [job.jobId],
  );
  return job;
}

/** Records all notifications as sent. */
const deliver = (): Promise<unknown> =>
  h.dataSource.query(`UPDATE notification_log SET "deliveryStatus" = $1`, [DeliveryStatus.SENT]);

it('removes the jobs that ended before a time, with their notifications and errors, and returns how many', async () => {
  const old = [await aged(await make.completed()), await aged(await make.failed())];
  const recent = [await make.completed(), await make.failed()];
  const [{ limit }] = await h.dataSource.query(`SELECT now() - interval '1 hour' AS "limit"`);
  await deliver();
  expect(await h.jobs.pruneJobs({ olderThan: limit })).toBe(2);
  expect(await left()).toEqual(ids(recent));
  for (const { jobId } of old) {
    expect(await h.notifications.listNotifications({ jobId })).toMatchObject({ notifications: [] });
    await expect(h.jobs.listAttemptErrors(jobId)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  }
  expect(await h.jobs.pruneJobs({ olderThan: limit })).toBe(0);
});

it('removes only jobs of the status that it is given', async () => {
  const [completed, failed] = [await make.completed(), await make.failed()];
  await deliver();
  expect(await h.jobs.pruneJobs({ olderThan: NOW, status: 'failed', dryRun: true })).toBe(1);
  expect(await h.jobs.pruneJobs({ olderThan: NOW, status: 'failed' })).toBe(1);
  expect(await left()).toEqual([completed.jobId]);
  await expect(h.jobs.getJob(failed.jobId)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
});

it('keeps jobs that are not final, that were created long ago but ended lately, or whose notification is still pending', async () => {
  const told = await make.completed();
  await deliver();
  const waiting = [await make.pending(), await make.leased(), await make.unleased()];
  const retried = await make.failed();
  await deliver();
  await h.jobs.retryJob(retried.jobId);
  const untold = await make.completed();
  await h.dataSource.query(`UPDATE video_jobs SET "createdAt" = "createdAt" - interval '1 day'`);
  const [{ limit }] = await h.dataSource.query(`SELECT now() - interval '1 hour' AS "limit"`);
  expect(await h.jobs.pruneJobs({ olderThan: limit })).toBe(0);
  expect(await h.jobs.pruneJobs({ olderThan: NOW })).toBe(1);
  expect(await left()).toEqual(ids([untold, retried, ...waiting]));
  expect(await left()).not.toContain(told.jobId);
});

it('removes all in batches, also when two calls run at the same time', async () => {
  const { userId } = await h.user();
  await h.jobs.createJobs(Array.from({ length: 250 }, () => ({ ...video, userId })));
  const jobs = await h.jobs.claimJobs({ limit: 1000, leaseMs: HOUR_MS });
  await h.jobs.completeJobs(jobs.map((job) => ({ job, result })));
  await deliver();
  const counts = await Promise.all([
    h.jobs.pruneJobs({ olderThan: NOW, batchSize: 7 }),
    other.jobs.pruneJobs({ olderThan: NOW, batchSize: 10 }),
  ]);
  const rest = await h.jobs.pruneJobs({ olderThan: NOW });
  expect(counts[0] + counts[1] + rest).toBe(250);
  expect(await left()).toEqual([]);
});

it('passes over the jobs that must stay only once, and not again for each batch', async () => {
  const recorder = new QueryRecorder();
  const watched = await openHarness({ logger: recorder }, { url: h.url, drop: async () => {} });
  const client = new Client({ connectionString: h.url });
  await client.connect();
  try {
    const { userId } = await h.user();
    // The notifications of the oldest 2,000 jobs are still pending.
    await h.dataSource.query(
      `WITH old AS (
         INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "createdAt", "completedAt")
         SELECT $1, i::text, 's3://videos/a.mp4', 'completed', now() - interval '2 days', now() - interval '1 day'
         FROM generate_series(1, 2030) i RETURNING "jobId", filename)
       INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail")
       SELECT "jobId", 'success', 'a@example.com' FROM old WHERE filename::integer <= 2000`,
      [userId],
    );
    await h.dataSource.query(
      `UPDATE video_jobs SET "createdAt" = "createdAt" + filename::integer * interval '1 s'`,
    );
    await h.dataSource.query('ANALYZE video_jobs, notification_log');
    let removed = 0;
    const last = await recorder.sentBy(async () => {
      removed = await watched.jobs.pruneJobs({ olderThan: NOW, batchSize: 10 });
    });
    expect(removed).toBe(30);
    expect(await left()).toHaveLength(2_000);
    // This runs the statement of the last batch again.
    const plan = await explain(client, last);
    const jobsRead = plan.filter((node) => node['Relation Name'] === 'video_jobs');
    expect(mostRowsOfANode(jobsRead)).toBeLessThan(100);
  } finally {
    await client.end();
    await watched.close();
  }
});

it('passes over a job whose notification another transaction is just making due again, without waiting', async () => {
  const { jobId } = await aged(await make.failed());
  await h.dataSource.query(`UPDATE notification_log SET "deliveryStatus" = 'failed'`);
  const [row] = await h.dataSource.query('SELECT "notificationId" FROM notification_log');
  const { notificationId } = row as { notificationId: string };
  await h.dataSource.transaction(async (manager) => {
    await h.notifications.redeliver(notificationId, { manager });
    expect(await withoutWaiting(h.dataSource, other.jobs.pruneJobs({ olderThan: NOW }))).toBe(0);
  });
  expect(await left()).toEqual([jobId]);
  expect(await h.jobs.pruneJobs({ olderThan: NOW })).toBe(0);
});

it('never removes a job whose notification is made due again at the same moment', async () => {
  const count = 600;
  let [redelivered, gone] = [0, 0];
  for (let round = 0; round < 12; round += 1) {
    const { userId } = await h.user();
    const rows: { notificationId: string }[] = await h.dataSource.query(
      `WITH ended AS (
         INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "createdAt", "completedAt")
         SELECT $1, i::text, 's3://videos/a.mp4', 'failed', now() - i * interval '1 s', now()
         FROM generate_series(1, ${count}) i RETURNING "jobId", "createdAt"
       ), told AS (
         INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "deliveryStatus")
         SELECT "jobId", 'failure', 'a@example.com', 'failed' FROM ended
         RETURNING "notificationId", "jobId"
       )
       SELECT "notificationId" FROM told JOIN ended USING ("jobId") ORDER BY "createdAt" DESC LIMIT 100`,
      [userId],
    );
    // These are the newest jobs. They are removed last, so for them the snapshot of the removal is the oldest.
    const again = rows.map(async ({ notificationId }, index) => {
      await sleep(index / 8);
      return other.notifications.redeliver(notificationId);
    });
    const pruned = h.jobs.pruneJobs({ olderThan: NOW });
    const { done, refused } = await outcomes(again);
    await pruned;
    expect(refused.filter((code) => code !== 'NOTIFICATION_NOT_FOUND')).toEqual([]);
    const kept = await h.dataSource.query(
      `SELECT "notificationId" FROM notification_log WHERE "deliveryStatus" = 'pending'`,
    );
    expect(kept).toHaveLength(done.length);
    redelivered += done.length;
    gone += refused.length;
    await h.dataSource.query('DELETE FROM users');
  }
  // Each side must have won at least once. Otherwise there was no race.
  expect([redelivered > 0, gone > 0]).toEqual([true, true]);
}, 60_000);

it('passes over a row that another transaction has locked, without waiting', async () => {
  const [locked] = [await make.completed(), await make.completed()];
  await deliver();
  await other.dataSource.transaction(async (manager) => {
    await manager.query(`SELECT 1 FROM video_jobs WHERE "jobId" = $1 FOR KEY SHARE`, [
      locked!.jobId,
    ]);
    expect(await withoutWaiting(h.dataSource, h.jobs.pruneJobs({ olderThan: NOW }))).toBe(1);
  });
  expect(await left()).toEqual([locked!.jobId]);
});
