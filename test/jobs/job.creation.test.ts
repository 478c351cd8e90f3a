import { randomUUID } from 'node:crypto';
import { UserNotFoundError } from '../../src/errors.js';
import { VideoJob } from '../../src/schema/entities/index.js';
import type { User } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, makers, result, stored, video } from './fixtures.js';

let h: Harness;
let user: User;
beforeAll(async () => {
  h = await openHarness();
});
beforeEach(async () => {
  user = await h.user();
});
afterAll(() => h.close());

const input = () => ({ ...video, userId: user.userId });
const count = async (): Promise<number> =>
  (await h.jobs.countJobs({ userId: user.userId })).pending;

describe('createJob', () => {
  it('creates a pending job that is due at once', async () => {
    const job = await h.jobs.createJob(input());
    expect(job).toBeInstanceOf(VideoJob);
    expect({ ...job }).toEqual({
      ...input(),
      jobId: expect.any(String),
      status: 'pending',
      resultUrl: null,
      frameCount: null,
      errorMessage: null,
      createdAt: expect.any(Date),
      startedAt: null,
      completedAt: null,
      availableAt: job.createdAt,
      runNumber: 0,
      workerId: null,
      attempts: 0,
      progress: null,
      progressMessage: null,
      cancelledAt: null,
      parameters: null,
      output: null,
    });
    expect(await h.jobs.getJob(job.jobId)).toEqual(job);
    const repository = h.dataSource.getRepository(VideoJob);
    expect(await repository.findOneByOrFail({ jobId: job.jobId })).toEqual(job);
    const claimed = await h.jobs.claimJobs({ limit: 1000 });
    expect(claimed.map(({ jobId }) => jobId)).toContain(job.jobId);
  });

  it('schedules a job: nobody claims it before its time', async () => {
    const availableAt = new Date('9999-12-31T23:59:59.999Z');
    const job = await h.jobs.createJob({ ...input(), availableAt });
    expect(job.availableAt).toEqual(availableAt);
    const claimed = await h.jobs.claimJobs({ limit: 1000 });
    expect(claimed.map(({ jobId }) => jobId)).not.toContain(job.jobId);
  });

  it('a time in the past means now', async () => {
    const job = await h.jobs.createJob({ ...input(), availableAt: new Date(0) });
    expect(job.availableAt).toEqual(job.createdAt);
  });

  it('refuses a user who does not exist', async () => {
    const userId = randomUUID();
    for (const jobId of [undefined, randomUUID()]) {
      await expect(h.jobs.createJob({ ...input(), userId, jobId })).rejects.toMatchObject({
        code: 'USER_NOT_FOUND',
        userId,
        userIds: [userId],
      });
    }
  });

  it('accepts ids in either case, and any version of RFC 9562', async () => {
    const jobIds = [
      '00000000-0000-0000-0000-000000000000',
      'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF',
      '018F2C5A-0000-7000-8000-00000000ABCD',
      'c232ab00-9414-11ec-b3c8-9f6bdeced846',
    ];
    for (const jobId of jobIds) {
      const job = await h.jobs.createJob({ ...input(), userId: user.userId.toUpperCase(), jobId });
      expect(job).toMatchObject({ jobId: jobId.toLowerCase(), userId: user.userId });
      expect(await h.jobs.getJob(jobId)).toEqual(job);
      expect(await h.jobs.getJob(jobId, { userId: user.userId.toUpperCase() })).toEqual(job);
      const [again] = await h.jobs.createJobs([{ ...input(), jobId }]);
      expect(again).toEqual(job);
    }
  });

  describe('with a jobId', () => {
    it('returns the job of an earlier call, whatever its status is now', async () => {
      const jobId = randomUUID();
      const first = await h.jobs.createJob({ ...input(), jobId });
      const later = { ...input(), availableAt: new Date(Date.now() + HOUR_MS) };
      expect(await h.jobs.createJob({ ...later, jobId: jobId.toUpperCase() })).toEqual(first);
      const run = await h.jobs.startJob(jobId, { leaseMs: HOUR_MS });
      const { job } = await h.jobs.completeJob(run, result);
      expect(await h.jobs.createJob({ ...input(), jobId })).toEqual(job);
      expect(await count()).toBe(0);
    });

    it.each(['filename', 'videoUrl', 'userId'])(
      'refuses a %s that differs from that of the earlier call',
      async (property) => {
        const jobId = randomUUID();
        const first = await h.jobs.createJob({ ...input(), jobId });
        const { userId } = await h.user();
        const other = { filename: 'Cat.mp4', videoUrl: 's3://videos/Cat.mp4', userId };
        const changed = { ...input(), jobId, [property]: other[property as keyof typeof other] };
        const refusal = { code: 'JOB_CONFLICT', jobId };
        await expect(h.jobs.createJob(changed)).rejects.toMatchObject(refusal);
        await expect(h.jobs.createJobs([changed])).rejects.toMatchObject(refusal);
        expect(await h.jobs.getJob(jobId)).toEqual(first);
      },
    );
  });
});

describe('createJobs', () => {
  it('accepts an empty list', async () => {
    expect(await h.jobs.createJobs([])).toEqual([]);
  });

  it('returns exactly what is stored', async () => {
    const soon = new Date(Date.now() + 60_000);
    const jobs = await h.jobs.createJobs([
      input(),
      { ...input(), userId: input().userId.toUpperCase() },
      { ...input(), availableAt: soon },
      { ...input(), availableAt: new Date(0) },
    ]);
    expect(jobs[2]!.availableAt).toEqual(soon);
    expect(jobs[3]!.availableAt).toEqual(jobs[0]!.createdAt);
    const all = [...jobs, await h.jobs.createJob(input())];
    for (const job of all) {
      const read = await h.jobs.getJob(job.jobId);
      expect(read).toStrictEqual(job);
      expect(Object.keys(read)).toEqual(Object.keys(job));
    }
  });

  it('creates ten thousand jobs of many users, in order', async () => {
    const users = await Promise.all(Array.from({ length: 10 }, () => h.user()));
    const inputs = Array.from({ length: 10_000 }, (_, index) => ({
      ...video,
      userId: users[index % 10]!.userId,
      filename: `${index}.mp4`,
      jobId: index % 2 === 0 ? randomUUID() : undefined,
    }));
    const jobs = await h.jobs.createJobs(inputs);
    expect(jobs.map(({ filename, userId }) => ({ filename, userId }))).toEqual(
      inputs.map(({ filename, userId }) => ({ filename, userId })),
    );
    expect(jobs.every((job) => job instanceof VideoJob)).toBe(true);
    expect(await h.jobs.createJobs(inputs.filter(({ jobId }) => jobId !== undefined))).toEqual(
      jobs.filter((_, index) => index % 2 === 0),
    );
    await expect(h.jobs.createJobs([...inputs, input()])).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      problems: [{ property: 'inputs' }],
    });
  });

  it('creates none if a user does not exist, and names each that does not', async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    for (const jobId of [undefined, randomUUID()]) {
      const strangers = [a, b, a].map((userId) => ({ ...input(), userId }));
      const refused = h.jobs.createJobs([{ ...input(), jobId }, ...strangers]);
      const error: unknown = await refused.catch((refusal: unknown) => refusal);
      expect(error).toBeInstanceOf(UserNotFoundError);
      expect((error as UserNotFoundError).userIds.toSorted()).toEqual([a, b].toSorted());
    }
    expect(await count()).toBe(0);
  });

  it('creates none if one conflicts', async () => {
    const taken = await h.jobs.createJob(input());
    const conflicting = { ...input(), jobId: taken.jobId, filename: 'other.mp4' };
    const refused = h.jobs.createJobs([input(), conflicting, { ...input(), jobId: randomUUID() }]);
    await expect(refused).rejects.toMatchObject({ code: 'JOB_CONFLICT', jobId: taken.jobId });
    expect(await count()).toBe(1);
  });

  it('creates one job for an id that occurs twice beside a job without an id, if both entries are equal', async () => {
    const jobId = randomUUID();
    const twice = [input(), { ...input(), jobId }, { ...input(), jobId: jobId.toUpperCase() }];
    const [, first, second] = await h.jobs.createJobs(twice);
    expect(first).toEqual(second);
    expect(await count()).toBe(2);
    const other = randomUUID();
    const differing = [
      input(),
      { ...input(), jobId: other },
      { ...input(), jobId: other, filename: 'other.mp4' },
    ];
    await expect(h.jobs.createJobs(differing)).rejects.toMatchObject({ code: 'JOB_CONFLICT' });
    expect(await stored(h.dataSource, other)).toBeUndefined();
    expect(await count()).toBe(2);
  });

  it("writes nothing into a caller's transaction when it refuses, and the transaction stays usable", async () => {
    const taken = await makers(h).pending();
    const kept = await h.dataSource.transaction(async (manager) => {
      const conflicting = { ...input(), jobId: taken.jobId };
      const batch = [{ ...input(), jobId: randomUUID() }, conflicting];
      await expect(h.jobs.createJobs(batch, { manager })).rejects.toMatchObject({
        code: 'JOB_CONFLICT',
      });
      await expect(h.jobs.createJob(conflicting, { manager })).rejects.toMatchObject({
        code: 'JOB_CONFLICT',
      });
      return h.jobs.createJob(input(), { manager });
    });
    expect(await h.jobs.listJobs({ userId: user.userId })).toMatchObject({ jobs: [kept] });
  });
});
