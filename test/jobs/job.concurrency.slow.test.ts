import { TransactionConflictError } from '../../src/errors.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import {
  HOUR_MS,
  lapse,
  ledger,
  makers,
  notificationsOf,
  openPeer,
  result,
  stored,
  video,
  violations,
} from './fixtures.js';
import type { Peer } from './fixtures.js';
import { contending, outcomes, shuffled, times } from './race.js';

let h: Harness;
let peers: Peer[];
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  peers = [await openPeer(h.url), await openPeer(h.url)];
  make = makers(h);
});
// A claim finds every job that is due, so each test begins without jobs.
beforeEach(() => h.dataSource.query('DELETE FROM users'));
afterEach(async () => {
  expect(await violations(h.dataSource)).toEqual([]);
});
afterAll(async () => {
  await Promise.all(peers.map((peer) => peer.close()));
  await h.close();
});

const peerOf = (index: number): Peer => peers[index % peers.length] as Peer;
const input = async () => ({ ...video, userId: (await h.user()).userId });

describe('when many calls want the same run', () => {
  it('one of them starts it', async () => {
    for (let round = 0; round < 20; round += 1) {
      const { jobId } = await make.pending();
      const { done, refused } = await outcomes(
        times(8, (index) =>
          index % 2 === 0
            ? peerOf(index).jobs.startJob(jobId, { leaseMs: HOUR_MS })
            : peerOf(index)
                .jobs.claimJobs({ leaseMs: HOUR_MS })
                .then((claimed) => {
                  if (claimed.length === 0) throw new TransactionConflictError('nothing');
                  return claimed[0] as VideoJob;
                }),
        ),
      );
      expect(done).toMatchObject([{ jobId, runNumber: 1, attempts: 1 }]);
      expect(refused).toHaveLength(7);
      expect(await stored(h.dataSource, jobId)).toEqual({ ...done[0] });
    }
  });

  it('one of the calls that wait for the row starts it', async () => {
    const job = await make.pending();
    const { done, refused } = await contending(
      h.dataSource,
      job,
      times(8, (index) => () => peerOf(index).jobs.startJob(job.jobId, { leaseMs: HOUR_MS })),
    );
    expect(done).toMatchObject([{ jobId: job.jobId, runNumber: 1, attempts: 1 }]);
    expect(refused).toEqual(times(7, () => 'INVALID_JOB_TRANSITION'));
  });

  it('one of them finishes it, whichever methods they call', async () => {
    for (let round = 0; round < 10; round += 1) {
      const job = await make.leased();
      const service = (index: number) => peerOf(index).jobs;
      const { done, refused } = await contending<unknown>(
        h.dataSource,
        job,
        shuffled([
          () => service(0).completeJob(job, result),
          () => service(1).completeJob(job, result),
          () => service(0).failJob(job, { errorMessage: 'x' }),
          () => service(1).failJob(job, { errorMessage: 'x', retryInMs: HOUR_MS }),
          () => service(0).releaseJob(job),
        ]),
      );
      expect(done).toHaveLength(1);
      expect(refused).toEqual(times(4, () => 'LEASE_LOST'));
      const { status } = await stored(h.dataSource, job.jobId);
      const logged = await notificationsOf(h.dataSource, job.jobId);
      expect(logged).toHaveLength(status === 'pending' ? 0 : 1);
    }
  });

  it('one of them finishes a run without a lease', async () => {
    const job = await make.unleased();
    const { done, refused } = await contending(
      h.dataSource,
      job,
      times(6, (index) => () => peerOf(index).jobs.completeJob(job, result)),
    );
    expect(done).toHaveLength(1);
    expect(refused).toEqual(times(5, () => 'INVALID_JOB_TRANSITION'));
  });

  it('one of them retries it', async () => {
    const job = await make.failed();
    const { done, refused } = await contending(
      h.dataSource,
      job,
      times(6, (index) => () => peerOf(index).jobs.retryJob(job.jobId)),
    );
    expect(done).toHaveLength(1);
    expect(refused).toEqual(times(5, () => 'INVALID_JOB_TRANSITION'));
  });
});

/** Jobs whose leases are over, all of the same worker. */
async function lapsed(count: number): Promise<VideoJob[]> {
  const wanted = await input();
  await h.jobs.createJobs(times(count, () => wanted));
  const jobs = await h.jobs.claimJobs({ limit: 1000, leaseMs: HOUR_MS, workerId: 'late' });
  await lapse(h.dataSource, ...jobs);
  return jobs;
}

describe('a lease that is over', () => {
  it('is either used to complete the job or taken by another worker: each run has one winner', async () => {
    let stolen = 0;
    const rounds = 12;
    for (let round = 0; round < rounds; round += 1) {
      const late = await lapsed(40);
      const thieves = times(4, (index) =>
        peerOf(index).jobs.claimJobs({ limit: 5, leaseMs: HOUR_MS, workerId: `thief-${index}` }),
      );
      const completions = shuffled(late).map((job, index) =>
        peerOf(index).jobs.completeJob(job, result),
      );
      const [claims, { done, refused }] = await Promise.all([
        Promise.all(thieves),
        outcomes(completions),
      ]);
      const taken = claims.flat();
      stolen += taken.length;
      expect(new Set(taken.map(({ jobId }) => jobId)).size).toBe(taken.length);
      expect(taken.every(({ runNumber }) => runNumber === 2)).toBe(true);
      const completed = done.map(({ job }) => job.jobId);
      const both = taken.filter(({ jobId }) => completed.includes(jobId));
      expect(both).toEqual([]);
      expect(refused).toEqual(times(late.length - completed.length, () => 'LEASE_LOST'));
      expect(refused.length).toBeLessThanOrEqual(taken.length);
      // The workers that took a job complete it.
      const verdicts = await h.jobs.completeJobs(taken.map((job) => ({ job, result })));
      expect(verdicts.filter((verdict) => 'error' in verdict)).toEqual([]);
      await h.jobs.completeJobs(
        (await h.jobs.claimJobs({ limit: 1000 })).map((job) => ({ job, result })),
      );
    }
    expect(await ledger(h.dataSource)).toEqual([
      { status: 'completed', notifications: ['success'], jobs: rounds * 40 },
    ]);
    // Each side must have won at least once. Otherwise there was no race.
    expect(stolen).toBeGreaterThan(0);
    expect(stolen).toBeLessThan(rounds * 40);
  });

  it('is either extended or taken by another worker, and an extension never changes the lease of that worker', async () => {
    for (let round = 0; round < 15; round += 1) {
      const late = await lapsed(20);
      await Promise.all([
        peerOf(0).jobs.extendLeases(shuffled(late), { leaseMs: 5 * HOUR_MS }),
        peerOf(1).jobs.claimJobs({ limit: 20, leaseMs: HOUR_MS, workerId: 'thief' }),
        peerOf(0).jobs.extendLeases(shuffled(late), { leaseMs: 5 * HOUR_MS }),
      ]);
      for (const { jobId } of late) {
        const { availableAt, startedAt, runNumber, workerId } = await stored(h.dataSource, jobId);
        const lease = availableAt.getTime() - startedAt!.getTime();
        if (runNumber === 2)
          expect({ workerId, lease }).toEqual({ workerId: 'thief', lease: HOUR_MS });
        else {
          expect({ workerId, runNumber }).toEqual({ workerId: 'late', runNumber: 1 });
          expect(lease).toBeGreaterThanOrEqual(5 * HOUR_MS);
        }
      }
      await h.dataSource.query('DELETE FROM users');
    }
  });
});

describe('batches', () => {
  it('of overlapping completions in different orders never deadlock, and complete each job once', async () => {
    for (let round = 0; round < 10; round += 1) {
      const wanted = await input();
      await h.jobs.createJobs(times(100, () => wanted));
      const jobs = await h.jobs.claimJobs({ limit: 1000, leaseMs: HOUR_MS });
      const batches = await Promise.all(
        times(10, (index) =>
          peerOf(index).jobs.completeJobs(
            shuffled(jobs)
              .slice(0, 80)
              .map((job) => ({ job, result })),
          ),
        ),
      );
      const completed = batches
        .flat()
        .flatMap((verdict) => ('error' in verdict ? [] : [verdict.job.jobId]));
      expect(new Set(completed).size).toBe(completed.length);
      for (const verdict of batches.flat()) {
        if ('error' in verdict) expect(verdict.error.code).toBe('LEASE_LOST');
      }
      const rest = jobs.filter(({ jobId }) => !completed.includes(jobId));
      await h.jobs.completeJobs(rest.map((job) => ({ job, result })));
    }
    expect(await h.jobs.countJobs()).toMatchObject({ completed: 1000, processing: 0 });
  });

  it('of completions leave complete jobs, or no jobs, when users are deleted meanwhile', async () => {
    for (let round = 0; round < 10; round += 1) {
      const users = await Promise.all(times(10, () => h.user()));
      await h.jobs.createJobs(
        times(50, (index) => ({ ...video, userId: users[index % 10]!.userId })),
      );
      const jobs = await h.jobs.claimJobs({ limit: 1000, leaseMs: HOUR_MS });
      const deletions = users
        .slice(0, 5)
        .map(({ userId }) =>
          peerOf(1).dataSource.query(`DELETE FROM users WHERE "userId" = $1`, [userId]),
        );
      const completion = peerOf(0).jobs.completeJobs(jobs.map((job) => ({ job, result })));
      const [outcome] = await Promise.allSettled([completion, ...deletions]);
      if (outcome.status === 'fulfilled') {
        for (const verdict of outcome.value) {
          if ('error' in verdict) expect(verdict.error.code).toBe('JOB_NOT_FOUND');
        }
      } else expect(outcome.reason).toBeInstanceOf(TransactionConflictError);
      const left = await h.jobs.countJobs();
      const expected = outcome.status === 'fulfilled' ? 'completed' : 'processing';
      expect(left[expected]).toBe(left.completed + left.processing);
      await h.dataSource.query('DELETE FROM users');
    }
  });
});
