import type { ClaimJobsInput } from '../../dist/index.js';
import type { Bench, Subject } from '../harness/scenario.ts';
import { callsPerSecond } from '../harness/turns.ts';
import { fillPending, RESULT } from './fixtures.ts';
import type { Floor } from './floor.ts';
import type { FrameForge } from './frameforge.ts';

export function found<T>(jobs: readonly T[] | null): T {
  const [job] = jobs ?? [];
  if (job === undefined) throw new Error('The jobs ran out: raise claimBacklog.');
  return job;
}

/**
 * Claims one job and completes it, on every connection.
 *
 * @param how - further options of the claims
 * @param backlog - how many jobs are pending at the beginning of a turn
 */
export function claimingByService(
  bench: Bench,
  { url, jobs }: FrameForge,
  how: ClaimJobsInput = {},
  backlog = bench.profile.claimBacklog,
): Pick<Subject, 'prepare' | 'measure'> {
  const { turnMs } = bench.profile;
  return {
    prepare: () => fillPending(url, backlog),
    measure: () =>
      callsPerSecond(turnMs, async () => {
        const job = found(await jobs.claimJobs({ limit: 1, ...how }));
        await jobs.completeJob(job, RESULT);
      }),
  };
}

/** Claims one job and completes it, on every connection, by the same SQL. */
export function claimingByFloor(
  bench: Bench,
  { url, claimJobs, completeJob }: Floor,
): Pick<Subject, 'prepare' | 'measure'> {
  const { claimBacklog, turnMs } = bench.profile;
  return {
    prepare: () => fillPending(url, claimBacklog),
    measure: () =>
      callsPerSecond(turnMs, async (connection) => {
        const job = found(await claimJobs(connection, 1));
        await completeJob(connection, job);
      }),
  };
}
