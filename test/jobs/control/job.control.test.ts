import { randomUUID } from 'node:crypto';
import { JobService } from '../../../src/jobs/job.service.js';
import { SqlRunner } from '../../../src/sql/sql.runner.js';
import type { Harness } from '../../support/harness.js';
import { openHarness } from '../../support/harness.js';
import { HOUR_MS, lapse, makers, openPeer, result, stored } from '../fixtures.js';
import type { Peer } from '../fixtures.js';
import { lockWaiters, outcomes } from '../race.js';

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

const UPDATES = `SELECT pg_stat_get_xact_tuples_updated('video_jobs'::regclass)::integer AS all,
  pg_stat_get_xact_tuples_hot_updated('video_jobs'::regclass)::integer AS hot`;

const work = async (): Promise<void> => {};

const invalid = (property: string) => ({ code: 'INVALID_INPUT', problems: [{ property }] });

const pauseState = async () => (await h.dataSource.query('SELECT * FROM processing_state'))[0];

describe('reportProgress', () => {
  it('writes the progress of processing jobs, and returns their ids', async () => {
    const [leased, unleased, pending] = [
      await make.leased(),
      await make.unleased(),
      await make.pending(),
    ];
    const completed = await make.leased();
    await h.jobs.completeJob(completed, result);
    const reports = [
      { job: leased, percent: 33.9, message: 'frame 10 of 30' },
      { job: unleased, percent: 100 },
      { job: { ...leased, jobId: pending.jobId }, percent: 1 },
      { job: completed, percent: 1 },
    ];
    const held = await h.jobs.reportProgress(reports);
    expect(held.toSorted()).toEqual([leased.jobId, unleased.jobId].toSorted());
    const shown = [leased, unleased, pending, completed].map(async ({ jobId }) => {
      const { progress, progressMessage } = await h.jobs.getJob(jobId);
      return [progress, progressMessage];
    });
    expect(await Promise.all(shown)).toEqual([
      [33, 'frame 10 of 30'],
      [100, null],
      [null, null],
      [100, null],
    ]);
  });

  it('writes nothing for an older run, also if the same worker has the newer run', async () => {
    const old = await make.leased('worker-1');
    await lapse(h.dataSource, old);
    const [current] = await h.jobs.claimJobs({ workerId: 'worker-1', leaseMs: HOUR_MS });
    expect(current).toMatchObject({ jobId: old.jobId, runNumber: old.runNumber + 1 });
    expect(await h.jobs.reportProgress([{ job: old, percent: 90 }])).toEqual([]);
    expect(await h.jobs.getJob(old.jobId)).toMatchObject({ progress: 0 });
    expect(await h.jobs.extendLeases([old], { leaseMs: HOUR_MS })).toEqual([]);
    const held = h.dataSource.transaction((manager) => h.jobs.whileHeld(old, manager, work));
    await expect(held).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  it('refuses a wrong percentage or message, and the same job twice', async () => {
    const job = await make.leased();
    for (const [report, property] of [
      [{ job, percent: 101 }, 'reports.0.percent'],
      [{ job, percent: Number.NaN }, 'reports.0.percent'],
      [{ job, percent: 1, message: 'x'.repeat(256) }, 'reports.0.message'],
      [{ job, percent: 1, step: 2 }, 'reports.0.step'],
    ] as const) {
      await expect(h.jobs.reportProgress([report as never])).rejects.toMatchObject({
        problems: [{ property }],
      });
    }
    const twice = [job, { ...job, jobId: job.jobId.toUpperCase() }];
    const call = h.jobs.reportProgress(twice.map((one) => ({ job: one, percent: 1 })));
    await expect(call).rejects.toMatchObject({ problems: [{ property: 'reports.1.job.jobId' }] });
  });

  it('is fenced by the run number: an earlier run writes nothing', async () => {
    const job = await make.leased();
    await h.jobs.releaseJob(job);
    await h.jobs.startJob(job.jobId, { leaseMs: HOUR_MS, workerId: 'next' });
    expect(await h.jobs.reportProgress([{ job, percent: 50 }])).toEqual([]);
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ progress: 0 });
  });

  it('is fenced by the worker id: another worker writes nothing with the same run number', async () => {
    const job = await make.leased();
    const mine = { ...job, workerId: 'another' };
    expect(await h.jobs.reportProgress([{ job: mine, percent: 50 }])).toEqual([]);
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ progress: 0 });
  });

  it('waits for no lock', async () => {
    const [locked, free] = [await make.leased(), await make.leased()];
    await other.dataSource.transaction(async (manager) => {
      await manager.query('SELECT FROM video_jobs WHERE "jobId" = $1 FOR UPDATE', [locked.jobId]);
      const reports = [locked, free].map((job) => ({ job, percent: 50 }));
      const held = await h.jobs.reportProgress(reports);
      expect(held.toSorted()).toEqual([locked.jobId, free.jobId].toSorted());
    });
    expect(await h.jobs.getJob(locked.jobId)).toMatchObject({ progress: 0 });
    expect(await h.jobs.getJob(free.jobId)).toMatchObject({ progress: 50 });
  });

  it('makes a HOT update, and no update if nothing has changed', async () => {
    // This leaves free space in the page of the row.
    await h.dataSource.query('VACUUM video_jobs');
    const job = await make.leased();
    await h.dataSource.transaction(async (manager) => {
      const runner = new SqlRunner(h.dataSource, false, { manager });
      const counted = async () => (await manager.query(UPDATES))[0] as { all: number; hot: number };
      const before = await counted();
      await new JobService(h.dataSource, { runner }).reportProgress([{ job, percent: 7 }]);
      expect(await counted()).toEqual({ all: before.all + 1, hot: before.hot + 1 });
    });
    const versionOf = async (): Promise<string> => {
      const [row] = await h.dataSource.query('SELECT xmin FROM video_jobs WHERE "jobId" = $1', [
        job.jobId,
      ]);
      return row.xmin;
    };
    await h.jobs.reportProgress([{ job, percent: 50, message: 'half' }]);
    const version = await versionOf();
    expect(await h.jobs.reportProgress([{ job, percent: 50.5, message: 'half' }])).toEqual([
      job.jobId,
    ]);
    expect(await versionOf()).toBe(version);
  });

  it('starts at 0 in each run, and is kept when the job fails', async () => {
    const job = await make.leased();
    await h.jobs.reportProgress([{ job, percent: 60, message: 'x' }]);
    await h.jobs.failJob(job, { errorMessage: 'disk full' });
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ progress: 60, progressMessage: 'x' });
    await h.jobs.retryJob(job.jobId);
    const [claimed] = await h.jobs.claimJobs({ leaseMs: HOUR_MS });
    expect(claimed).toMatchObject({ progress: 0, progressMessage: null });
    expect(await stored(h.dataSource, job.jobId)).toMatchObject({ progress: 0 });
  });
});

describe('whileHeld', () => {
  it('runs the work only while the job is held, and returns its result', async () => {
    const job = await make.leased();
    const written = await h.dataSource.transaction((manager) =>
      h.jobs.whileHeld(job, manager, async () => {
        await manager.query(`UPDATE users SET username = 'held' WHERE "userId" = $1`, [job.userId]);
        return 'written';
      }),
    );
    expect(written).toBe('written');
    const [user] = await h.dataSource.query('SELECT username FROM users');
    expect(user).toEqual({ username: 'held' });
  });

  it.each<[string, () => Promise<unknown>, object]>([
    ['was cancelled', () => h.jobs.cancelJob(jobId()), { isCancelled: true, status: 'failed' }],
    ['is in another run', () => h.jobs.releaseJob(current), { status: 'pending' }],
    ['is completed', () => h.jobs.completeJob(current, result), { status: 'completed' }],
  ])('refuses a job that %s, and the transaction stays usable', async (_, change, state) => {
    current = await make.leased();
    await change();
    await h.dataSource.transaction(async (manager) => {
      let called = false;
      const call = h.jobs.whileHeld(current, manager, async () => {
        called = true;
      });
      await expect(call).rejects.toMatchObject({ code: 'LEASE_LOST', ...state });
      expect(called).toBe(false);
      await manager.query('SELECT 1');
    });
  });
  let current: Awaited<ReturnType<typeof make.leased>>;
  const jobId = (): string => current.jobId;

  it('refuses another worker, and a job without a worker that is pending again', async () => {
    const [leased, unleased] = [await make.leased(), await make.unleased()];
    await h.jobs.releaseJob(unleased);
    for (const job of [{ ...leased, workerId: 'another' }, unleased]) {
      const call = h.dataSource.transaction((manager) => h.jobs.whileHeld(job, manager, work));
      await expect(call).rejects.toMatchObject({ code: 'LEASE_LOST' });
    }
  });

  it('lets nobody else change the job until its transaction ends', async () => {
    const job = await make.leased();
    const cancelled = await h.dataSource.transaction((manager) =>
      h.jobs.whileHeld(job, manager, async () => {
        const cancellation = outcomes([other.jobs.cancelJob(job.jobId)]);
        await lockWaiters(h.dataSource, 1);
        const done = await h.jobs.completeJob(job, result, { manager });
        expect(done.job.status).toBe('completed');
        return { cancellation };
      }),
    );
    expect(await cancelled.cancellation).toMatchObject({ refused: ['INVALID_JOB_TRANSITION'] });
  });

  it('needs an open transaction, a function, and a job that exists', async () => {
    const job = await make.leased();
    const { manager } = h.dataSource;
    await expect(h.jobs.whileHeld(job, manager, work)).rejects.toMatchObject(invalid('manager'));
    await h.dataSource.transaction(async (open) => {
      const noWork = h.jobs.whileHeld(job, open, undefined as never);
      await expect(noWork).rejects.toMatchObject(invalid('work'));
      const gone = h.jobs.whileHeld({ ...job, jobId: randomUUID() }, open, work);
      await expect(gone).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
    });
  });
});

describe('a pause', () => {
  afterEach(() => h.jobs.resumeProcessing());

  it('prevents claims, and nothing else', async () => {
    const [pending, leased] = [await make.pending(), await make.leased()];
    await other.jobs.pauseProcessing({ reason: 'the disk is full' });
    expect(await pauseState()).toMatchObject({
      pausedAt: expect.any(Date),
      reason: 'the disk is full',
    });
    for (const how of [{}, { order: 'fair' }, { maxRunningPerUser: 5 }] as const) {
      expect(await h.jobs.claimJobs(how)).toEqual([]);
    }
    expect(await h.jobs.extendLeases([leased], { leaseMs: HOUR_MS })).toEqual([leased.jobId]);
    await h.jobs.completeJob(leased, result);
    expect(await h.jobs.startJob(pending.jobId)).toMatchObject({ status: 'processing' });
    const { jobId } = await make.pending();
    await other.jobs.resumeProcessing();
    expect(await h.jobs.claimJobs()).toMatchObject([{ jobId }]);
    expect(await pauseState()).toMatchObject({ pausedAt: null, reason: null });
  });

  it('a second pause keeps the time of the first, and its reason unless a new one is given', async () => {
    await h.jobs.pauseProcessing({ reason: 'first' });
    const { pausedAt } = await pauseState();
    await h.jobs.pauseProcessing();
    expect(await pauseState()).toMatchObject({ pausedAt, reason: 'first' });
    await h.jobs.pauseProcessing({ reason: 'second' });
    expect(await pauseState()).toMatchObject({ pausedAt, reason: 'second' });
  });

  it('says what to do if the row of processing_state is missing', async () => {
    await h.dataSource.query('DELETE FROM processing_state');
    const call = h.jobs.pauseProcessing();
    await expect(call).rejects.toThrow('INSERT INTO processing_state DEFAULT VALUES');
    await h.dataSource.query('INSERT INTO processing_state DEFAULT VALUES');
  });
});
