import { randomUUID } from 'node:crypto';
import { JobStatus, VideoJob } from '../../src/schema/entities/index.js';
import type { ListJobsInput } from '../../src/jobs/job.inputs.js';
import type { User } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { makers, result, video } from './fixtures.js';

let h: Harness;
let make: ReturnType<typeof makers>;
let user: User;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
beforeEach(async () => {
  user = await h.user();
});
afterAll(() => h.close());

/** All pages, one after the other. */
async function pages(input: ListJobsInput): Promise<VideoJob[][]> {
  const all: VideoJob[][] = [];
  let cursor: string | null = null;
  do {
    const page = await h.jobs.listJobs({ ...input, cursor });
    all.push(page.jobs);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return all;
}

const key = ({ createdAt, jobId }: VideoJob): string => `${createdAt.toISOString()} ${jobId}`;

describe('getJob', () => {
  it('returns the job, as an entity', async () => {
    const job = await make.completed();
    const read = await h.jobs.getJob(job.jobId);
    expect(read).toBeInstanceOf(VideoJob);
    expect(read).toEqual(job);
    expect(await h.jobs.getJob(job.jobId, { userId: job.userId })).toEqual(job);
  });

  it('finds neither a job of another user nor one that does not exist', async () => {
    const job = await make.pending();
    const mine = { userId: user.userId };
    await expect(h.jobs.getJob(job.jobId, mine)).rejects.toMatchObject({
      code: 'JOB_NOT_FOUND',
      jobId: job.jobId,
    });
    const jobId = randomUUID();
    await expect(h.jobs.getJob(jobId)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND', jobId });
  });

  it('refuses a userId that is undefined, instead of showing every job', async () => {
    const { jobId } = await make.pending();
    await expect(h.jobs.getJob(jobId, { userId: undefined })).rejects.toMatchObject({
      problems: [{ property: 'options.userId' }],
    });
    await expect(h.jobs.getJob(jobId, { userID: user.userId } as never)).rejects.toMatchObject({
      problems: [{ property: 'options.userID' }],
    });
  });
});

describe('listJobs', () => {
  it('returns an empty list for a user who has no job or does not exist', async () => {
    const nothing = { jobs: [], nextCursor: null };
    expect(await h.jobs.listJobs({ userId: user.userId })).toEqual(nothing);
    expect(await h.jobs.listJobs({ userId: randomUUID() })).toEqual(nothing);
  });

  it('lists the newest first, in pages that skip and repeat nothing', async () => {
    // One statement creates these jobs, so all have the same time and the id decides their order.
    await h.jobs.createJobs(Array.from({ length: 23 }, () => ({ ...video, userId: user.userId })));
    for (let index = 0; index < 3; index += 1) await make.pending(user.userId);
    const userId = user.userId;
    const [all] = await pages({ userId, limit: 1000 });
    expect(all).toHaveLength(26);
    const keys = all!.map(key);
    expect(keys).toEqual(keys.toSorted().toReversed());
    for (const limit of [1, 5, 13, 25, 26, 27]) {
      const paged = await pages({ userId, limit });
      expect(paged.flat()).toEqual(all);
      expect(paged).toHaveLength(Math.ceil(26 / limit));
    }
    expect((await h.jobs.listJobs({ userId })).jobs).toHaveLength(26);
  });

  it('returns 50 if no limit is given', async () => {
    await h.jobs.createJobs(Array.from({ length: 51 }, () => ({ ...video, userId: user.userId })));
    const { jobs, nextCursor } = await h.jobs.listJobs({ userId: user.userId });
    expect(jobs).toHaveLength(50);
    expect(nextCursor).not.toBeNull();
  });

  it('continues at the right place when jobs are created and removed meanwhile', async () => {
    const old = await h.jobs.createJobs(
      Array.from({ length: 4 }, () => ({ ...video, userId: user.userId })),
    );
    const first = await h.jobs.listJobs({ userId: user.userId, limit: 2 });
    await h.dataSource.query(`DELETE FROM video_jobs WHERE "jobId" = $1`, [first.jobs[1]!.jobId]);
    await make.pending(user.userId);
    const { nextCursor: cursor } = first;
    const second = await h.jobs.listJobs({ userId: user.userId, limit: 2, cursor });
    expect([...first.jobs, ...second.jobs].map(({ jobId }) => jobId).toSorted()).toEqual(
      old.map(({ jobId }) => jobId).toSorted(),
    );
    expect(second.nextCursor).toBeNull();
  });

  it('filters by status, and by user', async () => {
    const completed = await h.jobs.completeJob(await make.leased('w', user.userId), result);
    const pending = await make.pending(user.userId);
    await make.pending();
    const { userId } = user;
    const list = async (input: ListJobsInput) => (await h.jobs.listJobs(input)).jobs;
    expect(await list({ userId, status: JobStatus.COMPLETED })).toEqual([completed.job]);
    expect(await list({ userId, status: JobStatus.PENDING })).toEqual([pending]);
    expect(await list({ userId, status: JobStatus.FAILED })).toEqual([]);
    const everybody = await list({ status: JobStatus.PENDING, limit: 1000 });
    expect(new Set(everybody.map((job) => job.userId)).size).toBeGreaterThan(1);
    expect(new Set(everybody.map(({ status }) => status))).toEqual(new Set(['pending']));
  });

  it.each([
    ['1970', new Date(0)],
    ['9999', new Date('9999-12-31T23:59:59.999Z')],
  ])('pages through jobs of %s', async (_, createdAt) => {
    const jobs = await h.jobs.createJobs(
      Array.from({ length: 3 }, () => ({ ...video, userId: user.userId })),
    );
    await h.dataSource.query(`UPDATE video_jobs SET "createdAt" = $2 WHERE "userId" = $1`, [
      user.userId,
      createdAt,
    ]);
    const paged = await pages({ userId: user.userId, limit: 1 });
    expect(
      paged
        .flat()
        .map(({ jobId }) => jobId)
        .toSorted(),
    ).toEqual(jobs.map(({ jobId }) => jobId).toSorted());
  });

  it('refuses a userId that is undefined, and a forged cursor', async () => {
    await expect(h.jobs.listJobs({ userId: undefined })).rejects.toMatchObject({
      problems: [{ property: 'userId' }],
    });
    const forged = Buffer.from(`1.${user.userId} OR true`).toString('base64url');
    for (const cursor of ['', 'x', forged]) {
      await expect(h.jobs.listJobs({ cursor })).rejects.toMatchObject({
        problems: [{ property: 'cursor' }],
      });
    }
  });
});

describe('countJobs', () => {
  it('counts by status, for one user or for all', async () => {
    const { userId } = user;
    const none = { pending: 0, processing: 0, completed: 0, failed: 0 };
    expect(await h.jobs.countJobs({ userId })).toEqual(none);
    await make.pending(userId);
    await make.pending(userId);
    await h.jobs.completeJob(await make.leased('w', userId), result);
    expect(await h.jobs.countJobs({ userId })).toEqual({ ...none, pending: 2, completed: 1 });
    const before = await h.jobs.countJobs();
    await make.failed();
    await make.leased();
    const { failed, processing } = await h.jobs.countJobs();
    expect({ failed, processing }).toEqual({
      failed: before.failed + 1,
      processing: before.processing + 1,
    });
    await expect(h.jobs.countJobs({ userId: undefined })).rejects.toMatchObject({
      problems: [{ property: 'userId' }],
    });
  });
});

const notFound = (jobId: string): object => ({ code: 'JOB_NOT_FOUND', jobId });

describe('a job of another user', () => {
  it('cannot be retried', async () => {
    const { job } = await h.jobs.failJob(await make.leased(), { errorMessage: 'no video stream' });
    const mine = { userId: user.userId };
    await expect(h.jobs.retryJob(job.jobId, mine)).rejects.toMatchObject(notFound(job.jobId));
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'failed' });
    const retried = await h.jobs.retryJob(job.jobId, { userId: job.userId });
    expect(retried).toMatchObject({ status: 'pending' });
  });

  it('does not show its errors', async () => {
    const { job } = await h.jobs.failJob(await make.leased(), { errorMessage: 'no video stream' });
    const { jobId, userId } = job;
    const mine = { userId: user.userId };
    await expect(h.jobs.listAttemptErrors(jobId, mine)).rejects.toMatchObject(notFound(jobId));
    expect(await h.jobs.listAttemptErrors(jobId, { userId })).toHaveLength(1);
    const fresh = await make.pending();
    expect(await h.jobs.listAttemptErrors(fresh.jobId, { userId: fresh.userId })).toEqual([]);
  });

  it('does not show its notifications', async () => {
    const { jobId, userId } = await make.completed();
    const own = { jobId, userId };
    expect((await h.notifications.listNotifications(own)).notifications).toHaveLength(1);
    const mine = { jobId, userId: user.userId };
    expect((await h.notifications.listNotifications(mine)).notifications).toEqual([]);
    const all = await h.notifications.listNotifications({ userId, deliveryStatus: 'pending' });
    expect(all.notifications.map((notification) => notification.jobId)).toContain(jobId);
    for (const method of [
      () => h.jobs.retryJob(jobId, { userId: undefined }),
      () => h.jobs.listAttemptErrors(jobId, { userId: undefined }),
      () => h.notifications.listNotifications({ userId: undefined }),
    ]) {
      await expect(method()).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    }
  });
});
