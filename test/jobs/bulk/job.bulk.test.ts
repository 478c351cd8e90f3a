import { onJobChange } from '../../../src/jobs/job.changes.js';
import type { JobChange } from '../../../src/jobs/job.changes.js';
import type { VideoJob } from '../../../src/schema/entities/index.js';
import type { Harness } from '../../support/harness.js';
import { openHarness } from '../../support/harness.js';
import { until } from '../../support/until.js';
import {
  HOUR_MS,
  makers,
  notificationsOf,
  openPeer,
  stored,
  video,
  violations,
} from '../fixtures.js';
import type { Peer } from '../fixtures.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
  make = makers(h);
});
// A filter finds the jobs of all users, so each test begins without jobs.
beforeEach(() => h.dataSource.query('DELETE FROM video_jobs'));
afterEach(async () => {
  expect(await violations(h.dataSource)).toEqual([]);
});
afterAll(async () => {
  await other.close();
  await h.close();
});

const statuses = async (...jobs: { jobId: string }[]): Promise<string[]> =>
  Promise.all(jobs.map(async ({ jobId }) => (await stored(h.dataSource, jobId)).status));

async function failed(userId?: string, errorMessage = 'no video stream'): Promise<VideoJob> {
  const job = await make.leased('worker-1', userId);
  return (await h.jobs.failJob(job, { errorMessage })).job;
}

/** Sets the times of a job, in hours before now. */
const aged = ({ jobId }: VideoJob, created: number, ended: number): Promise<unknown> =>
  h.dataSource.query(
    `UPDATE video_jobs SET "createdAt" = date_trunc('milliseconds', now()) - $2 * interval '1 hour',
       "completedAt" = date_trunc('milliseconds', now()) - $3 * interval '1 hour'
     WHERE "jobId" = $1`,
    [jobId, created, ended],
  );
const hoursAgo = (hours: number): Date => new Date(Date.now() - hours * HOUR_MS);

describe('retryJobs', () => {
  it('makes failed jobs pending again, as retryJob does, but not cancelled ones', async () => {
    const [a, b] = [await failed(), await failed()];
    const others = [await make.pending(), await make.leased(), await make.completed()];
    const cancelled = await h.jobs.cancelJob((await make.pending()).jobId);
    expect(await h.jobs.retryJobs({ dryRun: true })).toEqual({ matched: 2, changed: 0 });
    expect(await statuses(a, b)).toEqual(['failed', 'failed']);
    expect(await h.jobs.retryJobs({})).toEqual({ matched: 2, changed: 2 });
    for (const job of [a, b]) {
      expect(await h.jobs.getJob(job.jobId)).toMatchObject({
        status: 'pending',
        attempts: 0,
        errorMessage: null,
        startedAt: null,
        completedAt: null,
        runNumber: 1,
      });
    }
    expect(await statuses(...others, cancelled)).toEqual([
      'pending',
      'processing',
      'completed',
      'failed',
    ]);
    expect(await h.jobs.retryJobs({})).toEqual({ matched: 0, changed: 0 });
  });

  it('finds by user, times and the text of the error', async () => {
    const { userId } = await h.user();
    const mine = await failed(userId, 'The disk is FULL.');
    const yours = await failed(undefined, 'A disk is full, again.');
    const old = await failed(undefined, 'unreadable (100%_)');
    await aged(mine, 5, 1);
    await aged(yours, 3, 2);
    await aged(old, 48, 47);
    const count = async (filter: object): Promise<number> =>
      (await h.jobs.retryJobs({ ...filter, dryRun: true })).matched;
    expect(await count({})).toBe(3);
    expect(await count({ userId })).toBe(1);
    expect(await count({ status: 'failed' })).toBe(3);
    expect(await count({ errorText: 'disk is Full' })).toBe(2);
    expect(await count({ errorText: '%' })).toBe(1);
    expect(await count({ createdFrom: hoursAgo(4) })).toBe(1);
    expect(await count({ createdBefore: hoursAgo(4) })).toBe(2);
    expect(await count({ createdFrom: hoursAgo(6), createdBefore: hoursAgo(4) })).toBe(1);
    expect(await count({ endedFrom: hoursAgo(1.5) })).toBe(1);
    expect(await count({ endedBefore: hoursAgo(1.5), errorText: 'disk' })).toBe(1);
    expect(await count({ limit: 2 })).toBe(2);
    const { completedAt } = await h.jobs.getJob(yours.jobId);
    expect(await count({ endedFrom: completedAt, endedBefore: hoursAgo(1.5) })).toBe(1);
    expect(await count({ endedBefore: completedAt })).toBe(1);
    // The oldest first.
    expect(await h.jobs.retryJobs({ limit: 1 })).toEqual({ matched: 1, changed: 1 });
    expect(await statuses(old, mine, yours)).toEqual(['pending', 'failed', 'failed']);
    expect(await h.jobs.retryJobs({ userId, errorText: 'disk' })).toMatchObject({ changed: 1 });
    expect(await statuses(old, mine, yours)).toEqual(['pending', 'pending', 'failed']);
  });

  it('changes thousands of jobs, each batch in a transaction of its own', async () => {
    const { userId } = await h.user();
    const transactions = async (): Promise<number> => {
      const [row] = await h.dataSource.query(
        `SELECT count(DISTINCT xmin::text)::integer AS count FROM video_jobs WHERE status = 'pending'`,
      );
      return row.count;
    };
    await h.dataSource.query(
      `INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "createdAt", "completedAt", "runNumber")
       SELECT $1, n::text, 's3://a/b', 'failed', now() - n % 3 * interval '1 minute', now(), 1
       FROM generate_series(1, 2500) AS n`,
      [userId],
    );
    await h.dataSource.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "runNumber")
       SELECT "jobId", 'failure', 'a@b.c', 1 FROM video_jobs`,
    );
    expect(await h.jobs.retryJobs({ limit: 2_200 })).toEqual({ matched: 2_200, changed: 2_200 });
    expect((await h.jobs.countJobs({ userId })).failed).toBe(300);
    expect(await transactions()).toBe(3);
  });

  it('waits for rows that others have locked, and does not change rows that no longer match then', async () => {
    const jobs = [await failed(), await failed(), await failed()];
    const held = jobs[1]!;
    let outcome: Promise<unknown> | undefined;
    await other.dataSource.transaction(async (manager) => {
      await manager.query(`UPDATE video_jobs SET "errorMessage" = 'x' WHERE "jobId" = $1`, [
        jobs[0]!.jobId,
      ]);
      await other.jobs.retryJob(held.jobId, { manager });
      outcome = h.jobs.retryJobs({});
      await until(async () => (await statuses(jobs[2]!))[0] === 'pending');
    });
    expect(await outcome).toEqual({ matched: 3, changed: 2 });
    expect(await statuses(...jobs)).toEqual(['pending', 'pending', 'pending']);
  });

  it('comes to an end while jobs fail again and again', async () => {
    await failed();
    const failing = (async () => {
      for (let n = 0; n < 30; n += 1) {
        for (const job of await other.jobs.claimJobs({ leaseMs: HOUR_MS })) {
          await other.jobs.failJob(job, { errorMessage: 'again' });
        }
      }
    })();
    const { matched } = await h.jobs.retryJobs({});
    await failing;
    expect(matched).toBe(1);
  });
});

describe('cancelJobs', () => {
  it('cancels pending and processing jobs, each with its notification', async () => {
    const { userId } = await h.user();
    const pending = await make.pending(userId);
    const leased = await make.leased('worker-1', userId);
    const unleased = await make.unleased();
    const [completed, lost] = [await make.completed(), await failed()];
    const told: unknown[] = [];
    const stop = onJobChange(h.dataSource, (change) => told.push(change));
    expect(await h.jobs.cancelJobs({ dryRun: true })).toEqual({ matched: 3, changed: 0 });
    expect(await h.jobs.cancelJobs({ userId, reason: 'no money' })).toEqual({
      matched: 2,
      changed: 2,
    });
    stop();
    for (const { jobId, runNumber } of [pending, leased]) {
      expect(await h.jobs.getJob(jobId)).toMatchObject({
        status: 'failed',
        errorMessage: 'The job was cancelled: no money',
        cancelledAt: expect.any(Date),
        completedAt: expect.any(Date),
        runNumber: runNumber + 1,
        workerId: null,
      });
      expect(await notificationsOf(h.dataSource, jobId)).toMatchObject([
        { notificationType: 'failure', runNumber: runNumber + 1 },
      ]);
    }
    const ids = (told as JobChange[]).flatMap(({ jobs }) => jobs.map(({ jobId }) => jobId));
    expect(ids.toSorted()).toEqual([pending.jobId, leased.jobId].toSorted());
    expect(told).toMatchObject([{ areCancelled: true }]);
    await expect(
      h.jobs.completeJob(leased, { resultUrl: 's3://a/b', frameCount: 1 }),
    ).rejects.toMatchObject({ code: 'LEASE_LOST' });
    expect(await statuses(unleased, completed, lost)).toEqual([
      'processing',
      'completed',
      'failed',
    ]);
    expect(await h.jobs.cancelJobs({ status: 'pending' })).toEqual({ matched: 0, changed: 0 });
    expect(await h.jobs.cancelJobs({ status: 'processing' })).toEqual({ matched: 1, changed: 1 });
  });

  it('for each job, either the cancellation or a simultaneous completion or claim wins', async () => {
    const { userId } = await h.user();
    await h.jobs.createJobs(Array.from({ length: 400 }, () => ({ ...video, userId })));
    const claimed = await h.jobs.claimJobs({ limit: 200, leaseMs: HOUR_MS });
    const [outcome, ...completions] = await Promise.all([
      h.jobs.cancelJobs({}),
      ...claimed.map((job) =>
        other.jobs.completeJob(job, { resultUrl: 's3://a/b', frameCount: 1 }).then(
          () => 1,
          () => 0,
        ),
      ),
      other.jobs.claimJobs({ limit: 50, leaseMs: HOUR_MS }).then(() => 0),
    ]);
    const completed = completions.reduce((sum, one) => sum + one, 0);
    expect(outcome.changed + completed).toBe(400);
    expect(await h.jobs.countJobs({ userId })).toEqual({
      pending: 0,
      processing: 0,
      completed,
      failed: outcome.changed,
    });
  });
});

it.each<[string, object]>([
  ['a userId that is undefined', { userId: undefined }],
  ['a time that is undefined, which would mean all jobs', { createdBefore: undefined }],
  ['a dry run that is undefined', { dryRun: undefined }],
  ['a text for a flag', { dryRun: 'true' }],
  ['an unknown key', { user: 'x' }],
  ['a status that cannot be', { status: 'completed' }],
  ['no limit', { limit: 0 }],
])('refuses %s', async (_, filter) => {
  for (const call of [h.jobs.retryJobs(filter), h.jobs.cancelJobs(filter as object)]) {
    await expect(call).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  }
});
