import { setTimeout as sleep } from 'node:timers/promises';
import { JobCancelledError, LeaseEndedError } from '../../src/index.js';
import type { KeptLease, VideoJob } from '../../src/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { until } from '../support/until.js';
import { HOUR_MS, lapse, makers, openPeer, result, stored } from './fixtures.js';

const LEASE_MS = 1_000;

let h: Harness;
let make: ReturnType<typeof makers>;
const kept: KeptLease[] = [];
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
afterEach(() => {
  for (const { stop } of kept.splice(0)) stop();
});
afterAll(() => h.close());

/** Waits until a lease of the same length that begins now ends later, in the milliseconds that are stored. */
const aMoment = (): Promise<unknown> => sleep(5);

const start = async (leaseMs = LEASE_MS): Promise<VideoJob> => {
  const job = await h.jobs.startJob((await make.pending()).jobId, { leaseMs });
  await aMoment();
  return job;
};

function keep(job: VideoJob, leaseMs = LEASE_MS): KeptLease {
  const lease = h.jobs.keepLease(job, { leaseMs });
  kept.push(lease);
  return lease;
}

const endOf = async ({ jobId }: VideoJob): Promise<number> =>
  (await stored(h.dataSource, jobId)).availableAt.getTime();

/** Waits until a lease is extended after this call. */
async function extended(job: VideoJob): Promise<void> {
  const before = await endOf(job);
  await until(async () => (await endOf(job)) > before);
}

it('extends a lease at once, and again and again', async () => {
  const job = await start(LEASE_MS);
  const { signal } = keep(job, HOUR_MS);
  await until(async () => (await endOf(job)) > job.availableAt.getTime() + HOUR_MS / 2);
  const short = await start();
  const lease = keep(short);
  for (let times = 0; times < 4; times += 1) await extended(short);
  expect([signal.aborted, lease.signal.aborted]).toEqual([false, false]);
  const { job: completed } = await h.jobs.completeJob(short, result);
  expect(completed).toMatchObject({ status: 'completed', runNumber: 1 });
});

it('keeps many leases at once', async () => {
  const jobs = await Promise.all(Array.from({ length: 20 }, () => start()));
  for (const job of jobs) keep(job);
  await until(async () => {
    const ends = await Promise.all(jobs.map(endOf));
    return ends.every((end, index) => end > jobs[index]!.availableAt.getTime());
  });
  await Promise.all(jobs.map(extended));
});

it('after stop(), the lease ends, and another worker can start the job', async () => {
  const job = await start();
  const lease = keep(job);
  await extended(job);
  lease.stop();
  lease.stop();
  await lapse(h.dataSource, job);
  const next = await h.jobs.startJob(job.jobId, { leaseMs: HOUR_MS });
  expect(next.runNumber).toBe(2);
  expect(await endOf(next)).toBe(next.availableAt.getTime());
  expect(lease.signal.aborted).toBe(false);
});

it.each<[string, (job: VideoJob) => Promise<unknown>, RegExp]>([
  ['cancelled', ({ jobId }) => h.jobs.cancelJob(jobId), /was cancelled.*retryJob/],
  [
    'deleted with its user',
    ({ userId }) => h.dataSource.query('DELETE FROM users WHERE "userId" = $1', [userId]),
    /was deleted\. Stop run 1: nothing of it will be recorded\.$/,
  ],
])('tells that the job was %s', async (_, end, message) => {
  const job = await start();
  const { signal } = keep(job);
  await end(job);
  await until(() => signal.aborted);
  expect(signal.reason).toBeInstanceOf(JobCancelledError);
  expect((signal.reason as Error).message).toMatch(message);
});

it('tells that the lease was lost to another run', async () => {
  const job = await start();
  const { signal } = keep(job);
  await h.dataSource.query(`UPDATE video_jobs SET "runNumber" = 2 WHERE "jobId" = $1`, [job.jobId]);
  await until(() => signal.aborted);
  expect(signal.reason).toBeInstanceOf(LeaseEndedError);
  expect((signal.reason as Error).message).toContain('run 1');
});

it('tells at once when this process starts the job again', async () => {
  const job = await start(HOUR_MS);
  const first = keep(job, HOUR_MS);
  await until(async () => (await endOf(job)) > job.availableAt.getTime());
  const end = await endOf(job);
  await aMoment();
  const again = keep(job, HOUR_MS);
  await until(async () => (await endOf(job)) > end);
  // No heartbeat extends the lease during the next minutes.
  await lapse(h.dataSource, job);
  const next = await h.jobs.startJob(job.jobId, { leaseMs: HOUR_MS });
  const second = keep(next, HOUR_MS);
  expect([first, again, second].map(({ signal }) => signal.aborted)).toEqual([true, true, false]);
});

it('a newer run of the same job does not keep the lease of a run that is over', async () => {
  const old = await start(HOUR_MS);
  await lapse(h.dataSource, old);
  const current = await h.jobs.startJob(old.jobId, { leaseMs: HOUR_MS });
  const held = keep(current, HOUR_MS);
  const late = keep(old, HOUR_MS);
  await until(() => late.signal.aborted);
  expect(held.signal.aborted).toBe(false);
});

it('says why when the lease ends because the database is away', async () => {
  const peer = await openPeer(h.url);
  const job = await peer.jobs.startJob((await make.pending()).jobId, { leaseMs: LEASE_MS });
  const lease = peer.jobs.keepLease(job, { leaseMs: LEASE_MS });
  await extended(job);
  await peer.close();
  await until(() => lease.signal.aborted);
  expect(lease.signal.reason).toBeInstanceOf(LeaseEndedError);
  expect(lease.signal.reason).toMatchObject({ cause: { code: 'DATABASE_UNAVAILABLE' } });
});

it.each<[string, (job: VideoJob) => unknown, string]>([
  ['no job', () => h.jobs.keepLease(undefined as never), 'job'],
  ['a handle of another kind', () => h.jobs.keepLease({ jobId: 'x' } as never), 'job.jobId'],
  ['too short a lease', (job) => h.jobs.keepLease(job, { leaseMs: 999 }), 'options.leaseMs'],
  ['an unknown option', (job) => h.jobs.keepLease(job, { lease: 1 } as never), 'options.lease'],
  ['no lease', (job) => h.jobs.keepLease({ ...job, workerId: null }), 'job.workerId'],
])('refuses %s by throwing', async (_, call, property) => {
  const job = await start(HOUR_MS);
  const refusal = expect.objectContaining({
    code: 'INVALID_INPUT',
    problems: expect.arrayContaining([expect.objectContaining({ property })]),
  });
  let thrown: unknown;
  try {
    call(job);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toEqual(refusal);
  expect(await endOf(job)).toBe(job.availableAt.getTime());
});

describe('a job that was started without a lease', () => {
  it('is found among the processing jobs, is recognized, and is given back', async () => {
    const job = await make.unleased();
    const { jobs } = await h.jobs.listJobs({ userId: job.userId, status: 'processing' });
    expect(jobs).toMatchObject([{ jobId: job.jobId, workerId: null, runNumber: 1 }]);
    const refused = h.jobs.startJob(job.jobId, { leaseMs: LEASE_MS });
    await expect(refused).rejects.toMatchObject({
      code: 'INVALID_JOB_TRANSITION',
      message: expect.stringMatching(/started without a lease.*releaseJob/),
    });
    await expect(h.jobs.retryJob(job.jobId)).rejects.toThrow(/started without a lease/);
    const [found] = jobs as [VideoJob];
    expect(await h.jobs.releaseJob(found)).toMatchObject({ status: 'pending', attempts: 0 });
    const next = await h.jobs.startJob(job.jobId, { leaseMs: LEASE_MS });
    expect(next).toMatchObject({ runNumber: 2 });
    // The worker that lost the lease is refused.
    await expect(h.jobs.completeJob(job, result)).rejects.toMatchObject({ code: 'LEASE_LOST' });
  });

  it('is distinguished from a job that has a lease', async () => {
    const job = await make.leased();
    await expect(h.jobs.startJob(job.jobId)).rejects.toThrow(/until their lease is over/);
  });
});
