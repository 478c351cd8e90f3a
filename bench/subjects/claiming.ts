import type { Bench, Subject } from '../harness/scenario.ts';
import { callsPerSecond } from '../harness/turns.ts';
import { fillPending, RESULT } from './fixtures.ts';
import type { Floor } from './floor.ts';
import { sql } from './floor.ts';
import type { FrameForge } from './frameforge.ts';

const LEASE_MS = 30_000;
const MAX_ATTEMPTS = 5;

function found<T>(jobs: readonly T[] | null): T {
  const [job] = jobs ?? [];
  if (job === undefined) throw new Error('The jobs ran out: raise claimBacklog.');
  return job;
}

/** Claims one job and completes it, on every connection. */
export function claimingByService(
  bench: Bench,
  { url, jobs }: FrameForge,
): Pick<Subject, 'prepare' | 'measure'> {
  const { claimBacklog, turnMs } = bench.profile;
  return {
    prepare: () => fillPending(url, claimBacklog),
    measure: () =>
      callsPerSecond(turnMs, async () => {
        const job = found(await jobs.claimJobs({ limit: 1 }));
        await jobs.completeJob(job, RESULT);
      }),
  };
}

/** The same, by the same SQL. */
export function claimingByFloor(
  bench: Bench,
  { url, run }: Floor,
): Pick<Subject, 'prepare' | 'measure'> {
  const { claimBacklog, turnMs } = bench.profile;
  return {
    prepare: () => fillPending(url, claimBacklog),
    measure: () =>
      callsPerSecond(turnMs, async (connection) => {
        const worker = `floor:${connection}`;
        const claim = [1, LEASE_MS, worker, MAX_ATTEMPTS, '-infinity', null, null];
        const { jobId, runNumber, workerId } = found(await run(connection, sql.claimJobs, claim));
        const { resultUrl, frameCount } = RESULT;
        const result = ['completed', resultUrl, frameCount, null, 0, 0];
        await run(connection, sql.settleJob, [jobId, runNumber, workerId, ...result]);
      }),
  };
}

export { found };
