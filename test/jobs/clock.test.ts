import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { elapse } from '../../src/testing/index.js';
import { HOUR_MS, makers, result, video } from './fixtures.js';

// All times of the queue come from the server's clock. A clock that is set back by an hour has the same effect as
// stored times that are moved an hour into the future. So these tests move the stored times.
const STEPS_BACK = `
  UPDATE video_jobs SET
    "createdAt" = "createdAt" + interval '1 hour', "startedAt" = "startedAt" + interval '1 hour',
    "completedAt" = "completedAt" + interval '1 hour',
    "availableAt" = "availableAt" + interval '1 hour'`;

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

it('a server whose clock steps back an hour loses nothing: what waits comes an hour later', async () => {
  const make = makers(h);
  const waiting = await make.pending();
  const lost = await h.jobs.startJob((await make.pending()).jobId, { leaseMs: 1_000 });
  const held = await make.leased();
  await h.dataSource.query(STEPS_BACK);

  // What was due, and the lease of a worker that has gone, wait for the clock.
  expect(await h.jobs.claimJobs()).toEqual([]);
  // What is created now is claimed now, a worker keeps its lease, and records what came of its job.
  const fresh = await h.jobs.createJob({ ...video, userId: held.userId });
  expect(await h.jobs.claimJobs({ leaseMs: 2 * HOUR_MS })).toMatchObject([{ jobId: fresh.jobId }]);
  expect(await h.jobs.extendLeases([held], { leaseMs: 2 * HOUR_MS })).toEqual([held.jobId]);
  const { notification } = await h.jobs.completeJob(held, result);
  expect(notification).toMatchObject({ jobId: held.jobId, runNumber: 1 });

  await elapse(h.dataSource, HOUR_MS + 1_000);
  const claimed = await h.jobs.claimJobs();
  expect(new Set(claimed.map(({ jobId }) => jobId))).toEqual(new Set([waiting.jobId, lost.jobId]));
  await expect(h.jobs.completeJob(lost, result)).rejects.toMatchObject({ code: 'LEASE_LOST' });
});
