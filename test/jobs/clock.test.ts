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

it('if the clock of the server goes back an hour, no job is lost: waiting jobs start an hour later', async () => {
  const make = makers(h);
  const waiting = await make.pending();
  const lost = await h.jobs.startJob((await make.pending()).jobId, { leaseMs: 1_000 });
  const held = await make.leased();
  await h.dataSource.query(STEPS_BACK);

  // Jobs that were due, and the lost lease of a worker, become due an hour later.
  expect(await h.jobs.claimJobs()).toEqual([]);
  // A new job is claimed at once. A worker keeps its lease, and records the result of its job.
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
