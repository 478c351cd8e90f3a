import { randomUUID } from 'node:crypto';
import { InvalidInputError, JobNotFoundError, LeaseLostError } from '../../src/errors.js';
import { completeJobsOfWorker } from '../../src/jobs/job.settlement.js';
import { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, makers, notificationsOf, result, stored, violations } from './fixtures.js';

let h: Harness;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
afterEach(async () => {
  expect(await violations(h.dataSource)).toEqual([]);
});
afterAll(() => h.close());

describe('completeJob', () => {
  it('completes the job and logs its notification', async () => {
    const leased = await make.leased();
    const { job, notification } = await h.jobs.completeJob(leased, result);
    expect(job).toBeInstanceOf(VideoJob);
    expect({ ...job }).toEqual({
      ...leased,
      ...result,
      status: 'completed',
      progress: 100,
      completedAt: expect.any(Date),
      workerId: null,
    });
    expect(job.completedAt!.getTime()).toBeGreaterThanOrEqual(job.startedAt!.getTime());
    expect(notification).toBeInstanceOf(NotificationLog);
    const [user] = await h.dataSource.query(`SELECT email FROM users WHERE "userId" = $1`, [
      job.userId,
    ]);
    expect({ ...notification }).toEqual({
      notificationId: expect.any(String),
      jobId: job.jobId,
      notificationType: 'success',
      recipientEmail: user.email,
      deliveryStatus: 'pending',
      retryCount: 0,
      errorMessage: null,
      createdAt: job.completedAt,
      sentAt: null,
      availableAt: job.completedAt,
      deliveryNumber: 0,
      runNumber: 1,
    });
    expect(await stored(h.dataSource, job.jobId)).toEqual({ ...job });
    expect(await notificationsOf(h.dataSource, job.jobId)).toEqual([{ ...notification }]);
  });

  it('accepts a handle with only the needed fields, an id in upper or lower case, and a frame count of 0', async () => {
    const { jobId, runNumber, workerId } = await make.leased();
    const handle = { jobId: jobId.toUpperCase(), runNumber, workerId };
    const { job } = await h.jobs.completeJob(handle, { ...result, frameCount: 0 });
    expect(job).toMatchObject({ jobId, frameCount: 0 });
  });

  it('completes a job whose lease is over if no other worker has claimed it', async () => {
    const leased = await make.leased();
    await h.jobs.extendLeases([leased], { leaseMs: 1 });
    await expect(h.jobs.completeJob(leased, result)).resolves.toMatchObject({
      job: { status: 'completed' },
    });
  });

  it('clears the error of an earlier run', async () => {
    const first = await make.leased();
    await h.jobs.failJob(first, { errorMessage: 'disk full', retryInMs: 0 });
    const second = await h.jobs.startJob(first.jobId, { leaseMs: HOUR_MS });
    expect(second.errorMessage).toBe('disk full');
    const { job, notification } = await h.jobs.completeJob(second, result);
    expect(job).toMatchObject({ errorMessage: null, runNumber: 2 });
    expect(notification.runNumber).toBe(2);
    expect(await h.jobs.listAttemptErrors(job.jobId)).toMatchObject([
      { runNumber: 1, errorMessage: 'disk full' },
    ]);
  });

  it('sends the notification to the address that the user has at that moment', async () => {
    const leased = await make.leased();
    const email = `${randomUUID()}@example.com`;
    await h.dataSource.query(`UPDATE users SET email = $2 WHERE "userId" = $1`, [
      leased.userId,
      email,
    ]);
    const { notification } = await h.jobs.completeJob(leased, result);
    expect(notification.recipientEmail).toBe(email);
    await h.dataSource.query(`UPDATE users SET email = $2 WHERE "userId" = $1`, [
      leased.userId,
      `${randomUUID()}@example.com`,
    ]);
    expect(await notificationsOf(h.dataSource, leased.jobId)).toMatchObject([
      { recipientEmail: email },
    ]);
  });

  it('cannot complete a job by its id alone', async () => {
    const { jobId } = await make.leased();
    for (const handle of [jobId, { jobId }, { jobId, runNumber: 1 }]) {
      await expect(h.jobs.completeJob(handle as never, result)).rejects.toThrow(InvalidInputError);
    }
  });
});

describe('completeJobs', () => {
  it('accepts an empty list', async () => {
    expect(await h.jobs.completeJobs([])).toEqual([]);
  });

  it('returns a verdict for each completion, in their order', async () => {
    const [a, b, c] = [await make.leased(), await make.leased(), await make.leased()];
    const stale = { ...b, runNumber: 7 };
    const unknown = { ...b, jobId: randomUUID() };
    const done = await make.unleased();
    await h.jobs.completeJob(done, result);
    const batch = [c, stale, a, unknown, done].map((job, index) => ({
      job,
      result: { ...result, frameCount: index },
    }));
    expect(await h.jobs.completeJobs(batch)).toEqual([
      {
        job: expect.objectContaining({ jobId: c.jobId, frameCount: 0, status: 'completed' }),
        notification: expect.objectContaining({ jobId: c.jobId, runNumber: 1 }),
      },
      { error: expect.any(LeaseLostError) },
      {
        job: expect.objectContaining({ jobId: a.jobId, frameCount: 2 }),
        notification: expect.objectContaining({ jobId: a.jobId }),
      },
      { error: expect.any(JobNotFoundError) },
      { error: expect.objectContaining({ code: 'INVALID_JOB_TRANSITION', status: 'completed' }) },
    ]);
    expect(await stored(h.dataSource, b.jobId)).toMatchObject({ status: 'processing' });
  });

  it('refuses a job that is in the batch twice, and names only the missing job of an entry without one', async () => {
    const job = await make.leased();
    const twice = [
      { job, result },
      { job: { ...job, jobId: job.jobId.toUpperCase() }, result },
    ];
    await expect(h.jobs.completeJobs(twice)).rejects.toMatchObject({
      problems: [{ property: 'completions.1.job.jobId', message: 'is in this batch twice' }],
    });
    expect(await stored(h.dataSource, job.jobId)).toMatchObject({ status: 'processing' });
    const nameless = { job: { runNumber: 1, workerId: null }, result } as never;
    await expect(h.jobs.completeJobs([nameless, nameless])).rejects.toMatchObject({
      problems: [
        { property: 'completions.0.job.jobId', message: 'must be a UUID' },
        { property: 'completions.1.job.jobId', message: 'must be a UUID' },
      ],
    });
  });

  it('completes a thousand jobs, each with its notification', async () => {
    const user = await h.user();
    const input = { userId: user.userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' };
    await h.jobs.createJobs(Array.from({ length: 1_000 }, () => input));
    const jobs = await h.jobs.claimJobs({ limit: 1_000, leaseMs: HOUR_MS });
    const verdicts = await h.jobs.completeJobs(jobs.map((job) => ({ job, result })));
    expect(verdicts.filter((verdict) => 'error' in verdict)).toEqual([]);
    expect(await h.jobs.countJobs({ userId: user.userId })).toMatchObject({ completed: 1_000 });
  });
});

it('completes for a worker only the jobs that it holds, in the run that it names', async () => {
  const [held, stolen, older] = [
    await make.leased(),
    await make.leased('thief'),
    await make.leased(),
  ];
  await h.jobs.releaseJob(older);
  await h.jobs.startJob(older.jobId, { leaseMs: HOUR_MS, workerId: 'worker-1' });
  const completions = [held, stolen, older].map((handle) => ({ handle, result }));
  const db = new SqlRunner(h.dataSource, true);
  const done = await completeJobsOfWorker(db, 'worker-1', completions);
  expect(done).toEqual([true, false, false]);
  expect(await stored(h.dataSource, stolen.jobId)).toMatchObject({ status: 'processing' });
  expect(await stored(h.dataSource, older.jobId)).toMatchObject({ status: 'processing' });
});

describe('failJob', () => {
  it('fails the job for good, logs its notification, and keeps the error', async () => {
    const leased = await make.leased('worker-1');
    const { job, notification } = await h.jobs.failJob(leased, { errorMessage: 'no video stream' });
    expect(job).toMatchObject({
      status: 'failed',
      errorMessage: 'no video stream',
      workerId: null,
      attempts: 1,
      runNumber: 1,
    });
    expect(job.completedAt!.getTime()).toBeGreaterThanOrEqual(job.startedAt!.getTime());
    expect(notification).toMatchObject({ notificationType: 'failure', runNumber: 1 });
    expect(await h.jobs.listAttemptErrors(job.jobId)).toMatchObject([
      { runNumber: 1, workerId: 'worker-1', errorMessage: 'no video stream' },
    ]);
  });

  it.each([0, 1, HOUR_MS, 2_147_483_647])(
    'retries in %i ms, without a notification',
    async (ms) => {
      const leased = await make.leased();
      const failure = { errorMessage: 'disk full', retryInMs: ms };
      const { job, notification } = await h.jobs.failJob(leased, failure);
      expect(notification).toBeNull();
      expect({ ...job }).toEqual({
        ...leased,
        status: 'pending',
        startedAt: null,
        completedAt: null,
        workerId: null,
        errorMessage: 'disk full',
        availableAt: expect.any(Date),
      });
      const [error] = await h.jobs.listAttemptErrors(job.jobId);
      expect(job.availableAt.getTime() - error!.createdAt.getTime()).toBe(ms);
      expect(await notificationsOf(h.dataSource, job.jobId)).toEqual([]);
    },
  );
});

it('releaseJob gives the job back: it is due at once, and the attempt does not count', async () => {
  const first = await make.leased();
  await h.jobs.failJob(first, { errorMessage: 'disk full', retryInMs: 0 });
  const second = await h.jobs.startJob(first.jobId, { leaseMs: HOUR_MS });
  expect(second.attempts).toBe(2);
  const released = await h.jobs.releaseJob(second);
  expect(released).toBeInstanceOf(VideoJob);
  expect(released).toMatchObject({
    status: 'pending',
    startedAt: null,
    workerId: null,
    attempts: 1,
    runNumber: 2,
    errorMessage: 'disk full',
  });
  expect(released.availableAt.getTime()).toBeLessThan(second.availableAt.getTime());
  expect(await notificationsOf(h.dataSource, first.jobId)).toEqual([]);
  expect(await h.jobs.listAttemptErrors(first.jobId)).toHaveLength(1);
});

it('retryJob makes a failed job pending with all of its tries, and keeps its notification', async () => {
  const failed = await make.failed();
  const retried = await h.jobs.retryJob(failed.jobId.toUpperCase());
  expect({ ...retried }).toEqual({
    ...failed,
    status: 'pending',
    startedAt: null,
    completedAt: null,
    errorMessage: null,
    attempts: 0,
    availableAt: expect.any(Date),
  });
  expect(await notificationsOf(h.dataSource, failed.jobId)).toHaveLength(1);
  const again = await h.jobs.startJob(failed.jobId, { leaseMs: HOUR_MS });
  expect(again).toMatchObject({ runNumber: 2, attempts: 1 });
  await h.jobs.failJob(again, { errorMessage: 'still none' });
  expect(await notificationsOf(h.dataSource, failed.jobId)).toMatchObject([
    { notificationType: 'failure', runNumber: 1 },
    { notificationType: 'failure', runNumber: 2 },
  ]);
});

it('deletes jobs, notifications and errors with their user', async () => {
  const { userId, jobId } = await make.failed();
  await h.dataSource.query(`DELETE FROM users WHERE "userId" = $1`, [userId]);
  await expect(h.jobs.getJob(jobId)).rejects.toThrow(JobNotFoundError);
  expect(await notificationsOf(h.dataSource, jobId)).toEqual([]);
  await expect(h.jobs.listAttemptErrors(jobId)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
});
