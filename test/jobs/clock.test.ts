import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { claimPending } from '../../src/jobs/job.claiming.js';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { elapse } from '../../src/testing/index.js';
import { Claimer } from '../../src/worker/claimer.js';
import { until } from '../support/until.js';
import { HOUR_MS, makers, result, video } from './fixtures.js';

// All times of the queue come from the server's clock. A clock that is set back by an hour has the same effect as
// stored times that are moved an hour into the future. So these tests move the stored times.
const STEPS_BACK = [
  `UPDATE video_jobs SET
     "createdAt" = "createdAt" + interval '1 hour', "startedAt" = "startedAt" + interval '1 hour',
     "completedAt" = "completedAt" + interval '1 hour',
     "availableAt" = "availableAt" + interval '1 hour'`,
  `UPDATE notification_log SET
     "createdAt" = "createdAt" + interval '1 hour', "sentAt" = "sentAt" + interval '1 hour',
     "availableAt" = "availableAt" + interval '1 hour'`,
];
const stepBack = async (): Promise<void> => {
  for (const update of STEPS_BACK) await h.dataSource.query(update);
};

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

it('if the clock of the server goes back an hour, no job is lost: waiting jobs start an hour later', async () => {
  const make = makers(h);
  const waiting = await make.pending();
  const lost = await h.jobs.startJob((await make.pending()).jobId, { leaseMs: 1_000 });
  const held = await make.leased();
  const failing = await make.leased();
  await stepBack();

  // Jobs that were due, and the lost lease of a worker, become due an hour later.
  expect(await h.jobs.claimJobs()).toEqual([]);
  // A new job is claimed at once. A worker keeps its lease, and records the result of its job.
  const fresh = await h.jobs.createJob({ ...video, userId: held.userId });
  expect(await h.jobs.claimJobs({ leaseMs: 2 * HOUR_MS })).toMatchObject([{ jobId: fresh.jobId }]);
  expect(await h.jobs.extendLeases([held], { leaseMs: 60_000 })).toEqual([held.jobId]);
  // The lease that was extended ends by the clock of now: if its worker dies, nobody waits an hour for it.
  const { availableAt } = await h.jobs.getJob(held.jobId);
  expect(availableAt.getTime()).toBeLessThan(held.availableAt.getTime() - HOUR_MS / 2);
  const { notification } = await h.jobs.completeJob(held, result);
  expect(notification).toMatchObject({ jobId: held.jobId, runNumber: 1 });
  const { job } = await h.jobs.failJob(failing, { errorMessage: 'no video' });
  expect(job).toMatchObject({ status: 'failed', runNumber: 1 });

  await elapse(h.dataSource, HOUR_MS + 1_000);
  const claimed = await h.jobs.claimJobs();
  expect(new Set(claimed.map(({ jobId }) => jobId))).toEqual(new Set([waiting.jobId, lost.jobId]));
  await expect(h.jobs.completeJob(lost, result)).rejects.toMatchObject({ code: 'LEASE_LOST' });
});

it('a server whose clock steps back an hour loses no notification: those that wait come an hour later', async () => {
  const make = makers(h);
  const notified = async (): Promise<NotificationLog> =>
    (await h.jobs.completeJob(await make.leased(), result)).notification;
  await h.dataSource.query(`DELETE FROM notification_log`);
  const held = await notified();
  const [delivery] = await h.notifications.claimNotifications();
  const waiting = await notified();
  await stepBack();

  expect(await h.notifications.claimNotifications()).toEqual([]);
  const fresh = await notified();
  const claimed = await h.notifications.claimNotifications({ leaseMs: 2 * HOUR_MS });
  expect(claimed.map(({ jobId }) => jobId)).toEqual([fresh.jobId]);
  expect(delivery).toMatchObject({ notificationId: held.notificationId });
  expect(await h.notifications.markSent(delivery!)).toMatchObject({ deliveryStatus: 'sent' });

  await elapse(h.dataSource, HOUR_MS + 1_000);
  const later = await h.notifications.claimNotifications();
  expect(later.map(({ jobId }) => jobId)).toEqual([waiting.jobId]);
});

it('a worker finds what is created after the clock has stepped back', async () => {
  // Its claims begin where the last one ended. So the time of that is an hour ahead of the server.
  const make = makers(h);
  await h.dataSource.query(`DELETE FROM video_jobs`);
  const db = new SqlRunner(h.dataSource, true);
  let aheadMs = HOUR_MS;
  const claimer = new Claimer<VideoJob>(async (limit, dueFrom) => {
    const terms = { limit, leaseMs: HOUR_MS, workerId: 'a worker', maxAttempts: 5 };
    const claimed = await claimPending(db, terms, dueFrom);
    return { ...claimed, dueUntil: new Date(claimed.dueUntil.getTime() + aheadMs) };
  });
  const before = await make.pending();
  expect((await claimer.next(1, false)).items).toMatchObject([{ jobId: before.jobId }]);
  aheadMs = 0;

  for (let created = 0; created < 3; created += 1) {
    const { jobId } = await make.pending();
    const found: VideoJob[] = [];
    await until(async () => {
      found.push(...(await claimer.next(1, true)).items);
      return found.length > 0;
    });
    expect(found).toMatchObject([{ jobId }]);
  }
  // From the first look at the whole queue on, claims begin at the time of now again.
  const { jobId } = await make.pending();
  expect((await claimer.next(1, false)).items).toMatchObject([{ jobId }]);
});
