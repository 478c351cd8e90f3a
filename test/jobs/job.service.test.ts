import { randomUUID } from 'node:crypto';
import {
  InvalidInputError,
  InvalidJobTransitionError,
  JobConflictError,
  JobNotFoundError,
  LeaseLostError,
  UserNotFoundError,
} from '../../src/errors.js';
import { JobStatus, VideoJob, NotificationLog } from '../../src/schema/entities/index.js';
import type { User } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';

let h: Harness;
let user: User;
beforeAll(async () => {
  h = await openHarness();
  user = await h.user();
});
afterAll(() => h.close());

const input = () => ({ userId: user.userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' });
const result = { resultUrl: 's3://frames/cat.zip', frameCount: 42 };
const claimed = async (maxAttempts = 5): Promise<VideoJob> => {
  const job = await h.jobs.createJob({ ...input(), availableAt: new Date(0) });
  const jobs = await h.jobs.claimJobs({ limit: 1000, maxAttempts });
  return jobs.find(({ jobId }) => jobId === job.jobId) as VideoJob;
};

describe('createJob', () => {
  it('creates a pending job that is due now', async () => {
    const job = await h.jobs.createJob(input());
    expect(job).toBeInstanceOf(VideoJob);
    expect(job).toMatchObject({
      ...input(),
      status: 'pending',
      runNumber: 0,
      attempts: 0,
      workerId: null,
    });
    expect(job.availableAt.getTime()).toBeLessThanOrEqual(Date.now() + 1000);
    expect(await h.jobs.getJob(job.jobId)).toEqual(job);
    expect(
      await h.dataSource.getRepository(VideoJob).findOneByOrFail({ jobId: job.jobId }),
    ).toEqual(job);
  });

  it('refuses an unknown user', async () => {
    const userId = randomUUID();
    await expect(h.jobs.createJob({ ...input(), userId })).rejects.toThrow(UserNotFoundError);
  });

  it('returns the job of a repeated call, and refuses other content', async () => {
    const jobId = randomUUID();
    const first = await h.jobs.createJob({ ...input(), jobId });
    expect(await h.jobs.createJob({ ...input(), jobId: jobId.toUpperCase() })).toEqual(first);
    await expect(h.jobs.createJob({ ...input(), jobId, filename: 'x' })).rejects.toThrow(
      JobConflictError,
    );
  });

  it('gives simultaneous identical calls the same job', async () => {
    for (let round = 0; round < 20; round += 1) {
      const jobId = randomUUID();
      const jobs = await Promise.all(
        Array.from({ length: 8 }, () => h.jobs.createJob({ ...input(), jobId })),
      );
      expect(new Set(jobs.map((job) => job.jobId))).toEqual(new Set([jobId]));
    }
  });
});

describe('createJobs', () => {
  it('creates all in order, or none', async () => {
    const inputs = Array.from({ length: 100 }, (_, i) => ({ ...input(), filename: `${i}.mp4` }));
    const jobs = await h.jobs.createJobs(inputs);
    expect(jobs.map((job) => job.filename)).toEqual(inputs.map((i) => i.filename));
    const before = await h.jobs.countJobs();
    const unknown = randomUUID();
    await expect(
      h.jobs.createJobs([...inputs, { ...input(), userId: unknown }]),
    ).rejects.toMatchObject({
      userIds: [unknown],
    });
    const jobId = jobs[3]!.jobId;
    await expect(h.jobs.createJobs([input(), { ...input(), jobId }])).rejects.toThrow(
      JobConflictError,
    );
    expect(await h.jobs.countJobs()).toEqual(before);
  });
});

describe('a run', () => {
  it('completes with its notification', async () => {
    const job = await claimed();
    expect(job).toMatchObject({ status: 'processing', runNumber: 1, attempts: 1 });
    const done = await h.jobs.completeJob(job, result);
    expect(done.job).toMatchObject({ ...result, status: 'completed', workerId: null });
    expect(done.notification).toBeInstanceOf(NotificationLog);
    expect(done.notification).toMatchObject({
      jobId: job.jobId,
      notificationType: 'success',
      recipientEmail: user.email,
      runNumber: 1,
      deliveryStatus: 'pending',
    });
    await expect(h.jobs.completeJob(job, result)).rejects.toMatchObject({
      code: 'LEASE_LOST',
      status: 'completed',
      runNumber: 1,
    });
  });

  it('fails with its notification, and can be retried', async () => {
    const job = await claimed();
    const { notification } = await h.jobs.failJob(job, { errorMessage: 'no video stream' });
    expect(notification).toMatchObject({ notificationType: 'failure', runNumber: 1 });
    const again = await h.jobs.retryJob(job.jobId);
    expect(again).toMatchObject({
      status: 'pending',
      attempts: 0,
      startedAt: null,
      completedAt: null,
    });
    await expect(h.jobs.retryJob(job.jobId)).rejects.toThrow(InvalidJobTransitionError);
  });

  it('goes back to pending for a retry or on release', async () => {
    const job = await claimed();
    const { job: waiting, notification } = await h.jobs.failJob(job, {
      errorMessage: 'oops',
      retryInMs: 60_000,
    });
    expect(notification).toBeNull();
    expect(waiting).toMatchObject({
      status: 'pending',
      attempts: 1,
      errorMessage: 'oops',
      workerId: null,
    });
    const run2 = await h.jobs.startJob(job.jobId, { leaseMs: 1000 });
    expect(run2).toMatchObject({ status: 'processing', runNumber: 2, attempts: 2 });
    const released = await h.jobs.releaseJob(run2);
    expect(released).toMatchObject({
      status: 'pending',
      runNumber: 2,
      attempts: 1,
      startedAt: null,
    });
    await expect(h.jobs.releaseJob(run2)).rejects.toThrow(LeaseLostError);
  });

  it('is bounded: a claim fails what has no try left', async () => {
    const job = await claimed();
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = now() - interval '1 s' WHERE "jobId" = $1`,
      [job.jobId],
    );
    await h.jobs.claimJobs({ maxAttempts: 1 });
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'failed', workerId: null });
    const { notifications } = await h.notifications.listNotifications({ jobId: job.jobId });
    expect(notifications).toEqual([
      expect.objectContaining({ notificationType: 'failure', runNumber: 1 }),
    ]);
  });

  it('settles a batch with a verdict each', async () => {
    const [a, b] = [await claimed(), await claimed()];
    const verdicts = await h.jobs.completeJobs(
      [
        { job: a, result },
        { job: { ...b, runNumber: 7 }, result },
        { job: { ...b, jobId: randomUUID() }, result },
        { job: b, result },
      ].slice(0, 3),
    );
    expect(verdicts[0]).toMatchObject({
      job: { jobId: a.jobId },
      notification: { jobId: a.jobId },
    });
    expect(verdicts[1]).toMatchObject({ error: expect.any(LeaseLostError) });
    expect(verdicts[2]).toMatchObject({ error: expect.any(JobNotFoundError) });
  });

  it('extends what is held', async () => {
    const [a, b] = [await claimed(), await claimed()];
    await h.jobs.completeJob(b, result);
    expect(await h.jobs.extendLeases([a, b], { leaseMs: 90_000 })).toEqual([a.jobId]);
    const held = await h.jobs.getJob(a.jobId);
    expect(held.availableAt.getTime() - Date.now()).toBeGreaterThan(80_000);
  });
});

describe('reading', () => {
  it('lists pages, newest first', async () => {
    const owner = await h.user();
    await h.jobs.createJobs(
      Array.from({ length: 25 }, () => ({ ...input(), userId: owner.userId })),
    );
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await h.jobs.listJobs({ userId: owner.userId, limit: 10, cursor });
      seen.push(...page.jobs.map((job) => job.jobId));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(new Set(seen).size).toBe(25);
    expect(seen).toHaveLength(25);
    expect(await h.jobs.countJobs({ userId: owner.userId })).toEqual({
      pending: 25,
      processing: 0,
      completed: 0,
      failed: 0,
    });
    await expect(h.jobs.getJob(seen[0]!, { userId: user.userId })).rejects.toThrow(
      JobNotFoundError,
    );
  });

  it('refuses what is wrong, by property', async () => {
    await expect(h.jobs.listJobs({ userId: undefined })).rejects.toThrow(InvalidInputError);
    await expect(
      h.jobs.createJob({ ...input(), filename: '\0', extra: 1 } as never),
    ).rejects.toMatchObject({
      problems: [{ property: 'filename' }, { property: 'extra' }],
    });
  });
});

describe('a transaction', () => {
  it('is joined, and stays usable after a refusal', async () => {
    const kept = await h.dataSource.transaction(async (manager) => {
      await expect(
        h.jobs.createJob({ ...input(), userId: randomUUID() }, { manager }),
      ).rejects.toThrow(UserNotFoundError);
      await expect(h.jobs.retryJob(randomUUID(), { manager })).rejects.toThrow(JobNotFoundError);
      return h.jobs.createJob(input(), { manager });
    });
    expect((await h.jobs.getJob(kept.jobId)).status).toBe(JobStatus.PENDING);
    let lost = '';
    await h.dataSource
      .transaction(async (manager) => {
        lost = (await h.jobs.createJob(input(), { manager })).jobId;
        throw new Error('rolled back');
      })
      .catch(() => {});
    await expect(h.jobs.getJob(lost)).rejects.toThrow(JobNotFoundError);
  });
});
