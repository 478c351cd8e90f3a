import { randomUUID } from 'node:crypto';
import { jest } from '@jest/globals';
import { claimAnyInTurn, Rotation } from '../../src/jobs/fair.claiming.js';
import { claimAny, failSpent } from '../../src/jobs/job.claiming.js';
import type { Claim } from '../../src/jobs/job.claiming.js';
import { VideoJob } from '../../src/schema/entities/index.js';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import {
  HOUR_MS,
  lapse,
  makers,
  notificationsOf,
  openPeer,
  stored,
  withoutWaiting,
} from './fixtures.js';
import type { Peer } from './fixtures.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
  make = makers(h);
});
// A claim finds every job that is due, so each test begins without jobs.
beforeEach(() => h.dataSource.query('DELETE FROM video_jobs'));
afterAll(async () => {
  await other.close();
  await h.close();
});

const ids = (jobs: { jobId: string }[]): string[] => jobs.map(({ jobId }) => jobId);
const leaseOf = (job: VideoJob): number => job.availableAt.getTime() - job.startedAt!.getTime();

describe('claimJobs', () => {
  it('finds nothing where nothing is due', async () => {
    expect(await h.jobs.claimJobs()).toEqual([]);
    await make.leased();
    await make.unleased();
    await make.completed();
    await make.failed();
    expect(await h.jobs.claimJobs()).toEqual([]);
  });

  it('leases due jobs, by default for 30 s and to the worker id of the service', async () => {
    const job = await make.pending();
    const [claimed] = await h.jobs.claimJobs();
    expect(claimed).toBeInstanceOf(VideoJob);
    expect({ ...claimed }).toEqual({
      ...job,
      status: 'processing',
      startedAt: expect.any(Date),
      availableAt: expect.any(Date),
      runNumber: 1,
      attempts: 1,
      progress: 0,
      workerId: expect.stringMatching(/^.+:\d+:.+$/),
    });
    expect(leaseOf(claimed!)).toBe(30_000);
    expect(await stored(h.dataSource, job.jobId)).toEqual({ ...claimed });
    await make.pending();
    const [mine] = await h.jobs.claimJobs();
    await make.pending();
    const [theirs] = await other.jobs.claimJobs();
    expect(mine!.workerId).toBe(claimed!.workerId);
    expect(theirs!.workerId).not.toBe(claimed!.workerId);
  });

  it('uses the leaseMs and the workerId that it is given', async () => {
    await make.pending();
    const [job] = await h.jobs.claimJobs({ leaseMs: 1, workerId: '工人 "1"' });
    expect(job!.workerId).toBe('工人 "1"');
    expect(leaseOf(job!)).toBe(1);
  });

  it('claims up to its limit, by default 50, and returns those that wait longest first', async () => {
    const user = await h.user();
    const jobs = await h.jobs.createJobs(
      Array.from({ length: 60 }, (_, index) => ({
        userId: user.userId,
        filename: `${index}.mp4`,
        videoUrl: 's3://videos/cat.mp4',
      })),
    );
    // The later a job is in the list, the longer it has been waiting.
    await h.dataSource.query(
      `UPDATE video_jobs
       SET "availableAt" = now() - interval '1 minute' * split_part(filename, '.', 1)::integer`,
    );
    const longest = ids(jobs).toReversed();
    const three = await h.jobs.claimJobs({ limit: 3, leaseMs: HOUR_MS });
    expect(ids(three)).toEqual(longest.slice(0, 3));
    const fifty = await h.jobs.claimJobs({ leaseMs: HOUR_MS });
    expect(ids(fifty)).toEqual(longest.slice(3, 53));
    expect(await h.jobs.claimJobs()).toHaveLength(7);
  });

  it('claims a job again when its lease is over, as a new run, and notes the lost one', async () => {
    const first = await make.leased('worker-1');
    await lapse(h.dataSource, first);
    const [second] = await h.jobs.claimJobs({ workerId: 'worker-2', leaseMs: HOUR_MS });
    expect(second).toMatchObject({
      jobId: first.jobId,
      runNumber: 2,
      attempts: 2,
      workerId: 'worker-2',
    });
    expect(second!.startedAt!.getTime()).toBeGreaterThanOrEqual(first.startedAt!.getTime());
    expect(await h.jobs.listAttemptErrors(first.jobId)).toMatchObject([
      { runNumber: 1, workerId: 'worker-1', errorMessage: expect.stringContaining('worker-1') },
    ]);
  });

  it('fails a job that has no try left, with its notification, and claims the jobs behind it', async () => {
    const lost = await make.leased('worker-1');
    const waiting = await make.leased();
    await h.jobs.failJob(waiting, { errorMessage: 'disk full', retryInMs: 0 });
    await lapse(h.dataSource, lost, lost, waiting);
    const fresh = await make.pending();
    const claimed = await h.jobs.claimJobs({ limit: 1, maxAttempts: 1 });
    expect(ids(claimed)).toEqual([fresh.jobId]);
    // Users read this message, so it must not contain a host or a process.
    const gone = 'Gave up after attempt 1: its worker was lost.';
    for (const [job, errorMessage] of [
      [lost, gone],
      [waiting, 'disk full'],
    ] as const) {
      const failed = await h.jobs.getJob(job.jobId);
      expect(failed).toMatchObject({
        status: 'failed',
        runNumber: 1,
        attempts: 1,
        workerId: null,
        errorMessage,
        completedAt: expect.any(Date),
      });
      const user = await h.dataSource.query(`SELECT email FROM users WHERE "userId" = $1`, [
        job.userId,
      ]);
      expect(await notificationsOf(h.dataSource, job.jobId)).toMatchObject([
        { notificationType: 'failure', runNumber: 1, recipientEmail: user[0].email },
      ]);
    }
    expect(await h.jobs.listAttemptErrors(lost.jobId)).toMatchObject([{ workerId: 'worker-1' }]);
    expect(await h.jobs.claimJobs({ maxAttempts: 1 })).toEqual([]);
  });

  it('claims the jobs of lost workers before pending jobs', async () => {
    const pending = await make.pending();
    const lost = [await make.leased(), await make.leased()];
    // The leases end one after the other.
    for (const [index, job] of lost.entries()) {
      await h.jobs.extendLeases([job], { leaseMs: 1 + index });
    }
    await lapse(h.dataSource, pending, pending);
    await h.dataSource.query('SELECT pg_sleep(0.01)');
    expect(ids(await h.jobs.claimJobs({ limit: 1 }))).toEqual([lost[0]!.jobId]);
    expect(ids(await h.jobs.claimJobs())).toEqual([lost[1]!.jobId, pending.jobId]);
  });

  it('finds the due jobs behind thousands of jobs without a try left, in a few statements', async () => {
    const { userId } = await h.user();
    await h.dataSource.query(
      `INSERT INTO video_jobs ("userId", filename, "videoUrl", attempts, "availableAt")
       SELECT $1, 'a.mp4', 's3://videos/a.mp4', 5, now() - interval '1 day'
       FROM generate_series(1, 3000)`,
      [userId],
    );
    const due = await make.pending();
    const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
    expect(ids(await h.jobs.claimJobs({ limit: 1 }))).toEqual([due.jobId]);
    expect(sent.mock.calls.length).toBeLessThan(15);
    sent.mockRestore();
    expect(await h.jobs.countJobs()).toMatchObject({ failed: 3000, processing: 1 });
  });

  it('a run that already has a notification does not prevent the claim of other jobs', async () => {
    const [reported, lost] = [await make.leased(), await make.leased()];
    await h.dataSource.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "runNumber")
       VALUES ($1, 'failure', 'a@example.com', 1)`,
      [reported.jobId],
    );
    await lapse(h.dataSource, reported, lost);
    const fresh = await make.pending();
    expect(ids(await h.jobs.claimJobs({ maxAttempts: 1 }))).toEqual([fresh.jobId]);
    for (const { jobId } of [reported, lost]) {
      expect(await stored(h.dataSource, jobId)).toMatchObject({ status: 'failed' });
      expect(await notificationsOf(h.dataSource, jobId)).toHaveLength(1);
    }
  });

  it('sets the progress to 0 in each run', async () => {
    const job = await make.leased();
    await h.dataSource.query(
      `UPDATE video_jobs SET progress = 70, "progressMessage" = 'frame 7' WHERE "jobId" = $1`,
      [job.jobId],
    );
    await lapse(h.dataSource, job);
    const begun = { progress: 0, progressMessage: null };
    const [claimed] = await h.jobs.claimJobs();
    expect(claimed).toMatchObject(begun);
    expect(await stored(h.dataSource, job.jobId)).toEqual({ ...claimed });
    await h.jobs.releaseJob(claimed!);
    expect(await h.jobs.startJob(job.jobId)).toMatchObject(begun);
  });

  it('finds nothing while processing is paused', async () => {
    const [pending, lost] = [await make.pending(), await make.leased()];
    await lapse(h.dataSource, lost);
    await h.dataSource.query('UPDATE processing_state SET "pausedAt" = now()');
    expect(await h.jobs.claimJobs()).toEqual([]);
    await h.dataSource.query('UPDATE processing_state SET "pausedAt" = NULL');
    expect(ids(await h.jobs.claimJobs())).toEqual([lost.jobId, pending.jobId]);
  });

  it('gives a job five tries by default', async () => {
    const { jobId } = await make.pending();
    for (let attempts = 1; attempts <= 5; attempts += 1) {
      const claimed = await h.jobs.claimJobs();
      expect(claimed).toMatchObject([{ jobId, attempts, runNumber: attempts }]);
      await lapse(h.dataSource, { jobId });
    }
    expect(await h.jobs.claimJobs()).toEqual([]);
    expect(await stored(h.dataSource, jobId)).toMatchObject({ status: 'failed', attempts: 5 });
    expect(await h.jobs.listAttemptErrors(jobId)).toHaveLength(5);
    await h.jobs.retryJob(jobId);
    expect(await h.jobs.claimJobs()).toMatchObject([{ jobId, attempts: 1, runNumber: 6 }]);
  });

  it.each<[string, (db: SqlRunner, claim: Claim) => Promise<VideoJob[]>]>([
    ['age', claimAny],
    ['fair', (db, claim) => claimAnyInTurn(db, claim, new Rotation())],
  ])('keeps what it has claimed when a lease ends meanwhile, by %s', async (_, claimOne) => {
    const { userId } = await h.user();
    const leased = await make.leased();
    const [spent, first, second] = [
      await make.pending(userId),
      await make.pending(userId),
      await make.pending(userId),
    ];
    await h.dataSource.query('UPDATE video_jobs SET attempts = 5 WHERE "jobId" = $1', [
      spent.jobId,
    ]);
    const db = new SqlRunner(h.dataSource, preparedByDefault());
    // The claim goes on after the job without a try left. By then the lease has ended.
    const run = db.run.bind(db);
    let statements = 0;
    jest.spyOn(db, 'run').mockImplementation(async (...args) => {
      const rows = await run(...args);
      statements += 1;
      if (statements === 1) await lapse(h.dataSource, leased);
      return rows as never[];
    });
    const claim = { limit: 2, leaseMs: HOUR_MS, workerId: 'w', maxAttempts: 5 };
    expect(ids(await claimOne(db, claim))).toEqual([first.jobId]);
    expect(statements).toBe(3);
    expect(await stored(h.dataSource, first.jobId)).toMatchObject({ status: 'processing' });
    expect(ids(await h.jobs.claimJobs())).toEqual([leased.jobId, second.jobId]);
  });

  it('does not fail what has changed since it was found without a try left', async () => {
    const retried = await make.pending();
    const [scheduled, running, unleased, completed, locked, spent] = [
      await make.pending(),
      await make.leased(),
      await make.unleased(),
      await make.completed(),
      await make.pending(),
      await make.pending(),
    ];
    const changed = [scheduled, running, unleased, completed, locked, spent].map(
      (job) => job.jobId,
    );
    await h.dataSource.query('UPDATE video_jobs SET attempts = 5 WHERE "jobId" = ANY($1)', [
      changed,
    ]);
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = now() + interval '1 day' WHERE "jobId" = $1`,
      [scheduled.jobId],
    );
    const found = [retried.jobId, ...changed];
    const rest = found.filter((jobId) => jobId !== spent.jobId);
    const all = (): Promise<VideoJob[]> =>
      Promise.all(rest.map((jobId) => stored(h.dataSource, jobId)));
    const before = await all();
    const db = new SqlRunner(h.dataSource, preparedByDefault());
    await h.jobs.pauseProcessing();
    expect(await failSpent(db, 5, found)).toBe(0);
    await h.jobs.resumeProcessing();
    await other.dataSource.transaction(async (manager) => {
      await manager.query(`SELECT 1 FROM video_jobs WHERE "jobId" = $1 FOR NO KEY UPDATE`, [
        locked.jobId,
      ]);
      expect(await withoutWaiting(h.dataSource, failSpent(db, 5, found))).toBe(1);
    });
    expect(await all()).toEqual(before);
    expect(await notificationsOf(h.dataSource, spent.jobId)).toMatchObject([
      { notificationType: 'failure' },
    ]);
  });

  it('passes over rows that somebody has locked, without waiting', async () => {
    const [locked, free] = [await make.pending(), await make.pending()];
    await other.dataSource.transaction(async (manager) => {
      await manager.query(`SELECT 1 FROM video_jobs WHERE "jobId" = $1 FOR NO KEY UPDATE`, [
        locked.jobId,
      ]);
      expect(ids(await withoutWaiting(h.dataSource, h.jobs.claimJobs()))).toEqual([free.jobId]);
    });
    expect(ids(await h.jobs.claimJobs())).toEqual([locked.jobId]);
  });

  it('claims a job while another transaction inserts a notification for it', async () => {
    const job = await make.failed();
    await h.jobs.retryJob(job.jobId);
    await other.dataSource.transaction(async (manager) => {
      await manager.query(
        `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail")
         VALUES ($1, 'failure', 'a@example.com')`,
        [job.jobId],
      );
      expect(ids(await withoutWaiting(h.dataSource, h.jobs.claimJobs()))).toEqual([job.jobId]);
    });
  });
});

describe('startJob', () => {
  it('starts a pending job without a lease, and no claim ever takes it', async () => {
    const { jobId } = await make.pending();
    const job = await h.jobs.startJob(jobId);
    expect(job).toMatchObject({ status: 'processing', runNumber: 1, attempts: 1, workerId: null });
    expect(job.startedAt).toEqual(job.availableAt);
    await lapse(h.dataSource, job);
    expect(await h.jobs.claimJobs({ maxAttempts: 1 })).toEqual([]);
    await expect(h.jobs.startJob(jobId, { leaseMs: 1 })).rejects.toMatchObject({
      code: 'INVALID_JOB_TRANSITION',
      status: 'processing',
    });
    expect(await stored(h.dataSource, jobId)).toMatchObject({ status: 'processing', runNumber: 1 });
  });

  it('leases with a leaseMs, a workerId or both, the other by default', async () => {
    const start = async (input: { leaseMs?: number; workerId?: string }) =>
      h.jobs.startJob((await make.pending()).jobId, input);
    const [own] = await make.pending().then(() => h.jobs.claimJobs());
    const byLease = await start({ leaseMs: 5_000 });
    expect(leaseOf(byLease)).toBe(5_000);
    expect(byLease.workerId).toBe(own!.workerId);
    const byName = await start({ workerId: 'worker-1' });
    expect(leaseOf(byName)).toBe(30_000);
    expect(byName.workerId).toBe('worker-1');
  });

  it('starts a scheduled job, and one whose lease is over', async () => {
    const scheduled = await h.jobs.createJob({
      userId: (await h.user()).userId,
      filename: 'cat.mp4',
      videoUrl: 's3://videos/cat.mp4',
      availableAt: new Date(Date.now() + HOUR_MS),
    });
    expect(await h.jobs.startJob(scheduled.jobId)).toMatchObject({ runNumber: 1 });
    const leased = await make.leased('worker-1');
    await expect(h.jobs.startJob(leased.jobId)).rejects.toMatchObject({ status: 'processing' });
    await lapse(h.dataSource, leased);
    const stolen = await h.jobs.startJob(leased.jobId.toUpperCase(), { workerId: 'worker-2' });
    expect(stolen).toMatchObject({ runNumber: 2, attempts: 2, workerId: 'worker-2' });
    expect(await h.jobs.listAttemptErrors(leased.jobId)).toMatchObject([
      { runNumber: 1, workerId: 'worker-1' },
    ]);
  });
});

describe('extendLeases', () => {
  it('accepts an empty list', async () => {
    expect(await h.jobs.extendLeases([], { leaseMs: 1 })).toEqual([]);
  });

  it('extends the leases that are held, and returns only their ids', async () => {
    const held = await make.leased();
    const over = await make.leased();
    await lapse(h.dataSource, over);
    const stolen = await make.leased();
    await lapse(h.dataSource, stolen);
    await h.jobs.startJob(stolen.jobId, { workerId: 'thief' });
    const done = await make.completed();
    const gone = { jobId: randomUUID(), runNumber: 1, workerId: 'worker-1' };
    const forged = { ...(await make.leased()), workerId: 'worker-2' };
    const unleased = await make.unleased();
    const all = [held, over, stolen, done, gone, forged, unleased];
    const extended = await h.jobs.extendLeases(all, { leaseMs: 2 * HOUR_MS });
    expect(extended.toSorted()).toEqual([held.jobId, over.jobId].toSorted());
    for (const { jobId } of [held, over]) {
      const { availableAt } = await stored(h.dataSource, jobId);
      expect(availableAt.getTime()).toBeGreaterThan(held.availableAt.getTime());
    }
    expect(await h.jobs.claimJobs()).toEqual([]);
    expect(await stored(h.dataSource, forged.jobId)).toMatchObject({
      availableAt: forged.availableAt,
    });
  });

  it('can shorten a lease', async () => {
    const job = await make.leased();
    await h.jobs.extendLeases([job], { leaseMs: 1 });
    const { availableAt } = await stored(h.dataSource, job.jobId);
    expect(availableAt.getTime()).toBeLessThan(job.availableAt.getTime());
  });

  it('waits for no lock: a locked job counts as held until its lease is over', async () => {
    const [lasting, over] = [await make.leased(), await make.leased()];
    await lapse(h.dataSource, over);
    await other.dataSource.transaction(async (manager) => {
      await manager.query('SELECT FROM video_jobs FOR UPDATE');
      const extension = h.jobs.extendLeases([lasting, over], { leaseMs: 1 });
      expect(await withoutWaiting(h.dataSource, extension)).toEqual([lasting.jobId]);
    });
    expect(await stored(h.dataSource, lasting.jobId)).toMatchObject({
      availableAt: lasting.availableAt,
    });
  });
});
