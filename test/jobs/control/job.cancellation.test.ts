import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VideoJob } from '../../../src/schema/entities/index.js';
import type { Harness } from '../../support/harness.js';
import { openHarness } from '../../support/harness.js';
import { HOUR_MS, lapse, makers, notificationsOf, openPeer, result, stored } from '../fixtures.js';
import { violations } from '../fixtures.js';
import type { Peer } from '../fixtures.js';
import { outcomes } from '../race.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
  make = makers(h);
});
// A claim finds every job that is due, so each test begins without jobs.
beforeEach(() => h.dataSource.query('DELETE FROM users'));
afterEach(async () => {
  expect(await violations(h.dataSource)).toEqual([]);
});
afterAll(async () => {
  await other.close();
  await h.close();
});

const CANCELLED = {
  status: 'failed',
  workerId: null,
  resultUrl: null,
  errorMessage: 'The job was cancelled.',
  cancelledAt: expect.any(Date),
  completedAt: expect.any(Date),
};

describe('cancelJob', () => {
  it.each<[string, () => Promise<VideoJob>, number]>([
    ['a pending job', () => make.pending(), 1],
    ['a job that a worker holds', () => make.leased(), 2],
    ['a job that was started without a lease', () => make.unleased(), 2],
  ])('fails %s, in a new run number, with its notification', async (_, start, runNumber) => {
    const job = await start();
    const cancelled = await h.jobs.cancelJob(job.jobId);
    expect(cancelled).toMatchObject({ ...CANCELLED, runNumber, startedAt: job.startedAt });
    expect(await stored(h.dataSource, job.jobId)).toEqual({ ...cancelled });
    expect(await notificationsOf(h.dataSource, job.jobId)).toMatchObject([
      { notificationType: 'failure', runNumber, deliveryStatus: 'pending' },
    ]);
    expect(await h.jobs.listAttemptErrors(job.jobId)).toEqual([]);
  });

  it('fails the job of a worker that is lost', async () => {
    const job = await make.leased();
    await lapse(h.dataSource, job);
    await h.jobs.cancelJob(job.jobId, { reason: 'refunded' });
    expect(await h.jobs.claimJobs()).toEqual([]);
    const errorMessage = 'The job was cancelled: refunded';
    expect(await stored(h.dataSource, job.jobId)).toMatchObject({ ...CANCELLED, errorMessage });
  });

  it('returns a job that is already cancelled unchanged', async () => {
    const job = await make.leased();
    const first = await h.jobs.cancelJob(job.jobId, { reason: 'first' });
    expect(await h.jobs.cancelJob(job.jobId, { reason: 'second' })).toEqual(first);
    expect(await notificationsOf(h.dataSource, job.jobId)).toHaveLength(1);
  });

  it.each<[string, () => Promise<VideoJob>]>([
    ['completed', () => make.completed()],
    ['failed', () => make.failed()],
  ])('refuses a job that is %s', async (status, start) => {
    const { jobId, runNumber } = await start();
    const refusal = { code: 'INVALID_JOB_TRANSITION', move: 'cancelled', status, runNumber };
    await expect(h.jobs.cancelJob(jobId)).rejects.toMatchObject(refusal);
    expect(await stored(h.dataSource, jobId)).toMatchObject({ cancelledAt: null });
  });

  it('finds neither a job of another user nor one that does not exist', async () => {
    const job = await make.pending();
    const { userId } = await h.user();
    for (const call of [h.jobs.cancelJob(job.jobId, { userId }), h.jobs.cancelJob(randomUUID())]) {
      await expect(call).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
    }
    expect(await h.jobs.cancelJob(job.jobId, { userId: job.userId })).toMatchObject(CANCELLED);
  });

  it.each<[string, (job: VideoJob) => Promise<unknown>]>([
    ['complete', (job) => h.jobs.completeJob(job, result)],
    ['fail', (job) => h.jobs.failJob(job, { errorMessage: 'x' })],
    ['be tried again', (job) => h.jobs.failJob(job, { errorMessage: 'x', retryInMs: 0 })],
    ['be released', (job) => h.jobs.releaseJob(job)],
  ])('after it, an earlier run cannot %s', async (_, write) => {
    for (const job of [await make.leased(), await make.unleased()]) {
      const lost = { code: 'LEASE_LOST', status: 'failed', runNumber: 2, isCancelled: true };
      await h.jobs.cancelJob(job.jobId);
      await expect(write(job)).rejects.toMatchObject(lost);
      expect(await h.jobs.extendLeases([{ ...job, workerId: 'w' }], { leaseMs: 1 })).toEqual([]);
      // This also holds after the job was retried and cancelled again.
      await h.jobs.retryJob(job.jobId);
      await expect(write(job)).rejects.toMatchObject({ status: 'pending', isCancelled: false });
      await h.jobs.cancelJob(job.jobId);
      await expect(write(job)).rejects.toMatchObject({ ...lost, runNumber: 3 });
      expect(await notificationsOf(h.dataSource, job.jobId)).toMatchObject([
        { runNumber: 2 },
        { runNumber: 3 },
      ]);
    }
  });

  it('is undone by retryJob: the next run is an ordinary run', async () => {
    const job = await make.leased();
    await h.jobs.cancelJob(job.jobId);
    const retried = await h.jobs.retryJob(job.jobId);
    const fresh = { status: 'pending', attempts: 0, cancelledAt: null, errorMessage: null };
    expect(retried).toMatchObject({ ...fresh, runNumber: 2 });
    const [claimed] = await h.jobs.claimJobs({ leaseMs: HOUR_MS });
    await h.jobs.completeJob(claimed!, result);
    expect(await notificationsOf(h.dataSource, job.jobId)).toMatchObject([
      { notificationType: 'failure', runNumber: 2 },
      { notificationType: 'success', runNumber: 3 },
    ]);
  });

  it('can be undone by a service that knows only the first three migrations', async () => {
    const { jobId } = await h.jobs.cancelJob((await make.leased()).jobId);
    await h.dataSource.query(
      `UPDATE video_jobs SET status = 'pending', "startedAt" = NULL, "completedAt" = NULL,
         "errorMessage" = NULL WHERE "jobId" = $1 AND status = 'failed'`,
      [jobId],
    );
    expect(await stored(h.dataSource, jobId)).toMatchObject({ cancelledAt: null, attempts: 0 });
    const start = `UPDATE video_jobs SET status = 'processing', "startedAt" = now() WHERE "jobId" = $1`;
    await h.dataSource.query(start, [jobId]);
    // The other service started the job under the run number of the cancellation. That run has its notification
    // already, so this cancellation gets the next number.
    expect(await h.jobs.cancelJob(jobId)).toMatchObject({ ...CANCELLED, runNumber: 3 });
  });

  it('cannot be overwritten by a service that does not check the run number', async () => {
    const { jobId } = await h.jobs.cancelJob((await make.leased()).jobId);
    const completion = h.dataSource.query(
      `UPDATE video_jobs SET status = 'completed', "completedAt" = now() WHERE "jobId" = $1`,
      [jobId],
    );
    await expect(completion).rejects.toMatchObject({ constraint: 'chk_jobs_cancelled' });
  });

  it('commits together with the writes of its caller', async () => {
    const job = await make.leased();
    await h.dataSource.transaction(async (manager) => {
      await h.jobs.cancelJob(job.jobId, {}, { manager });
      await manager.query(`UPDATE users SET username = 'refunded' WHERE "userId" = $1`, [
        job.userId,
      ]);
      expect(await other.jobs.getJob(job.jobId)).toMatchObject({ status: 'processing' });
      // The heartbeat does not wait for the lock, and reports the lease as held.
      expect(await other.jobs.extendLeases([job], { leaseMs: 1 })).toEqual([job.jobId]);
    });
    expect(await other.jobs.getJob(job.jobId)).toMatchObject(CANCELLED);
  });
});

const ROUNDS = 200;

/** Makes a call at a random moment while the other call runs. */
const aMomentLater = <T>(call: () => Promise<T>): Promise<T> => sleep(4 * Math.random()).then(call);

/**
 * Runs two calls that want the same job, in either order. In half of the rounds both are made at once, and the shorter
 * one may win all of these. In the other rounds the second call is made a moment later.
 */
async function race(
  round: number,
  ...calls: readonly (() => Promise<unknown>)[]
): Promise<{ done: unknown[]; refused: string[] }> {
  const [first, second] = round % 2 === 0 ? calls : calls.toReversed();
  return outcomes([first!(), round % 4 < 2 ? second!() : aMomentLater(second!)]);
}

/** Runs both calls at once. In one round the first call is made a moment later, in the next round the second. */
const both = <A, B>(
  round: number,
  first: () => Promise<A>,
  second: () => Promise<B>,
): Promise<[A, B]> =>
  round % 2 === 0
    ? Promise.all([aMomentLater(first), second()])
    : Promise.all([first(), aMomentLater(second)]);

describe(`in ${ROUNDS} races a cancellation`, () => {
  const winners = new Map<string, number>();
  const won = (who: string): unknown => winners.set(who, (winners.get(who) ?? 0) + 1);
  beforeEach(() => winners.clear());
  afterEach(() => {
    // Each side must have won at least once. Otherwise there was no race.
    expect(winners.size).toBe(2);
  });

  it('or a completion wins', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const job = await make.leased();
      const { done, refused } = await race(
        round,
        () => h.jobs.cancelJob(job.jobId),
        () => other.jobs.completeJob(job, result),
      );
      const { status, runNumber } = await stored(h.dataSource, job.jobId);
      won(status);
      expect(done).toHaveLength(1);
      expect(refused).toEqual([status === 'failed' ? 'LEASE_LOST' : 'INVALID_JOB_TRANSITION']);
      const logged = await notificationsOf(h.dataSource, job.jobId);
      const notificationType = status === 'failed' ? 'failure' : 'success';
      expect(logged).toMatchObject([{ notificationType, runNumber }]);
    }
  });

  it('takes effect beside a claim: the job ends cancelled, whichever call is first', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const { jobId } = await make.pending();
      const [, claimed] = await both(
        round,
        () => h.jobs.cancelJob(jobId),
        () => other.jobs.claimJobs({ leaseMs: HOUR_MS }),
      );
      won(claimed.length === 0 ? 'cancelled' : 'claimed');
      const runNumber = 1 + claimed.length;
      expect(await stored(h.dataSource, jobId)).toMatchObject({ ...CANCELLED, runNumber });
      expect(await notificationsOf(h.dataSource, jobId)).toMatchObject([{ runNumber }]);
      for (const job of claimed) {
        const late = other.jobs.completeJob(job, result);
        await expect(late).rejects.toMatchObject({ code: 'LEASE_LOST', isCancelled: true });
      }
    }
  });

  it('takes effect beside the loss of a lease: neither the old run nor the new one can record a result', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const late = await make.leased();
      await lapse(h.dataSource, late);
      const [, stolen] = await both(
        round,
        () => h.jobs.cancelJob(late.jobId),
        () => other.jobs.claimJobs({ leaseMs: HOUR_MS, maxAttempts: 9 }),
      );
      won(stolen.length === 0 ? 'cancelled' : 'claimed');
      const runNumber = 2 + stolen.length;
      expect(await stored(h.dataSource, late.jobId)).toMatchObject({ ...CANCELLED, runNumber });
      expect(await notificationsOf(h.dataSource, late.jobId)).toMatchObject([{ runNumber }]);
      for (const job of [late, ...stolen]) {
        const written = other.jobs.completeJob(job, result);
        await expect(written).rejects.toMatchObject({ code: 'LEASE_LOST', isCancelled: true });
      }
    }
  });

  it('or a retry is last: each notification has a run of its own', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const { jobId } = await h.jobs.cancelJob((await make.pending()).jobId);
      const { done, refused } = await race(
        round,
        () => h.jobs.cancelJob(jobId, { reason: 'again' }),
        () => other.jobs.retryJob(jobId),
      );
      // A second cancellation does nothing before the retry. After the retry it is a new cancellation.
      expect([done.length, refused]).toEqual([2, []]);
      const { status, runNumber } = await stored(h.dataSource, jobId);
      won(status);
      expect(runNumber).toBe(status === 'pending' ? 1 : 2);
      expect(await notificationsOf(h.dataSource, jobId)).toHaveLength(runNumber);
    }
  });
});
