import { NotificationType } from '../../src/schema/entities/index.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, lapse, makers, notificationsOf, result, stored } from './fixtures.js';

// This package works beside a service that writes only the columns of the first three migrations.

let h: Harness;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
afterAll(() => h.close());

const byHand = (job: VideoJob, assignments: string): Promise<unknown> =>
  h.dataSource.query(`UPDATE video_jobs SET ${assignments} WHERE "jobId" = $1`, [job.jobId]);
const RETRY = `status = 'pending', "startedAt" = NULL, "completedAt" = NULL, "errorMessage" = NULL`;
const START = `status = 'processing', "startedAt" = now()`;
const COMPLETE = `status = 'completed', "completedAt" = now()`;

it('never claims what such a service has started', async () => {
  const job = await make.pending();
  await byHand(job, START);
  await lapse(h.dataSource, job);
  const claimed = await h.jobs.claimJobs({ limit: 1000 });
  expect(claimed.map(({ jobId }) => jobId)).not.toContain(job.jobId);
  await expect(h.jobs.startJob(job.jobId)).rejects.toMatchObject({
    code: 'INVALID_JOB_TRANSITION',
    status: 'processing',
  });
});

it('never claims what such a service started after it had failed a leased job by hand', async () => {
  const leased = await make.leased();
  await byHand(leased, `status = 'failed', "completedAt" = now()`);
  expect(await stored(h.dataSource, leased.jobId)).toMatchObject({ workerId: null });
  await byHand(leased, RETRY);
  await byHand(leased, START);
  await lapse(h.dataSource, leased);
  const claimed = await h.jobs.claimJobs({ limit: 1000 });
  expect(claimed.map(({ jobId }) => jobId)).not.toContain(leased.jobId);
  // The run that had the lease is refused too.
  await expect(h.jobs.completeJob(leased, result)).rejects.toMatchObject({
    code: 'LEASE_LOST',
    status: 'processing',
  });
});

it('a job without tries left that is retried by hand has all of its tries again', async () => {
  const [spent, other] = [await make.leased(), await make.pending()];
  await lapse(h.dataSource, spent);
  await h.jobs.claimJobs({ maxAttempts: 1, leaseMs: HOUR_MS });
  expect(await stored(h.dataSource, spent.jobId)).toMatchObject({ status: 'failed', attempts: 1 });
  await byHand(spent, RETRY);

  // This run already has its notification. If the claim failed the job again, the claim of every other job would
  // break.
  await lapse(h.dataSource, other);
  const claimed = await h.jobs.claimJobs({ limit: 1000, maxAttempts: 1, leaseMs: HOUR_MS });
  expect(claimed.map(({ jobId }) => jobId)).toEqual(expect.arrayContaining([spent.jobId]));
  const again = await stored(h.dataSource, spent.jobId);
  expect(again).toMatchObject({ status: 'processing', runNumber: 2, attempts: 1 });
  await h.jobs.completeJob(again, result);
  expect(await notificationsOf(h.dataSource, spent.jobId)).toMatchObject([
    { notificationType: 'failure', runNumber: 1 },
    { notificationType: 'success', runNumber: 2 },
  ]);
});

it('gives a new number to a run that such a service started after a failure', async () => {
  const job = await make.failed();
  await byHand(job, RETRY);
  await byHand(job, START);
  const handle = await stored(h.dataSource, job.jobId);
  expect(handle).toMatchObject({ runNumber: 1, workerId: null });
  const { job: failed, notification } = await h.jobs.failJob(handle, { errorMessage: 'again' });
  expect(failed.runNumber).toBe(2);
  expect(notification).toMatchObject({ notificationType: 'failure', runNumber: 2 });
  expect(await h.jobs.listAttemptErrors(job.jobId)).toMatchObject([
    { runNumber: 1, errorMessage: 'no video stream' },
    { runNumber: 2, errorMessage: 'again' },
  ]);
  // The reply was lost and the call is repeated. The error shows that the first call succeeded.
  await expect(h.jobs.failJob(handle, { errorMessage: 'again' })).rejects.toMatchObject({
    code: 'LEASE_LOST',
    status: 'failed',
    runNumber: 2,
  });
});

it('logs a notification for a job that such a service finished, not in the run that failed before', async () => {
  const job = await make.failed();
  await byHand(job, RETRY);
  await byHand(job, START);
  await byHand(job, COMPLETE);
  const input = { jobId: job.jobId, notificationType: NotificationType.SUCCESS };
  const logged = await h.notifications.logNotification(input);
  expect(logged).toMatchObject({ notificationType: 'success', runNumber: 2 });
  expect(await h.notifications.logNotification(input)).toEqual(logged);
  expect(await notificationsOf(h.dataSource, job.jobId)).toHaveLength(2);
});

it('completes with its own notification a job that was failed by hand while it was leased', async () => {
  const job = await make.leased();
  await byHand(job, `status = 'failed', "completedAt" = now(), "errorMessage" = 'timed out'`);
  await expect(h.jobs.completeJob(job, result)).rejects.toMatchObject({
    code: 'LEASE_LOST',
    status: 'failed',
    runNumber: 1,
  });
  const retried = await h.jobs.retryJob(job.jobId);
  expect(retried).toMatchObject({ status: 'pending', workerId: null, attempts: 0, runNumber: 1 });
  const again = await h.jobs.startJob(job.jobId, { leaseMs: HOUR_MS });
  const { notification } = await h.jobs.completeJob(again, result);
  expect(notification).toMatchObject({ notificationType: 'success', runNumber: 2 });
});
