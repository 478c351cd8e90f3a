import type { Tables } from '../schema/tables.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import type { PruneJobsInput } from './job.inputs.js';
import { countPrunable, lockPrunable, lockSweepable, removeLocked } from './job.pruning.sql.js';

/** The jobs that a batch has locked. */
interface Batch {
  readonly jobIds: readonly string[];
  /** When the last job of the batch was created; null if the batch has no job. */
  readonly createdAt: Date | null;
  readonly jobId: string | null;
}

const NO_ID = '00000000-0000-0000-0000-000000000000';

/** Which jobs are removed, and how many in one transaction. */
interface Sweep {
  /** Locks a batch of these jobs. */
  readonly lock: (t: Tables) => Statement;
  /** The first parameter of `lock`: how long ago is long enough. */
  readonly until: unknown;
  readonly batchSize: number;
  /** Is asked after each batch whether to go on. */
  goesOn?(): Promise<boolean>;
}

/**
 * Removes jobs that ended before a time, the oldest first.
 *
 * @returns how many jobs were removed, or would be removed with `dryRun`
 */
export async function pruneJobs(
  db: SqlRunner,
  { olderThan, batchSize = 1_000, status, dryRun = false }: PruneJobsInput,
): Promise<number> {
  const until = olderThan.toISOString();
  if (!dryRun) return remove(db, { lock: lockPrunable(status), until, batchSize });
  const [row] = await db.run<{ count: number }>('pruneJobs', countPrunable(status), [until]);
  return row?.count ?? 0;
}

/** How many jobs a worker removes in one transaction. It is small, because the worker processes jobs meanwhile. */
const SWEEP_BATCH = 200;

/**
 * Removes jobs that ended long enough ago, by the clock of the database. Does nothing while another worker
 * removes jobs.
 *
 * @param keptMs - how long finished jobs are kept, in ms
 * @param goesOn - is asked after each batch whether to go on
 * @returns how many jobs were removed
 */
export const sweepJobs = (
  db: SqlRunner,
  status: 'completed' | 'failed',
  keptMs: number,
  goesOn: () => Promise<boolean>,
): Promise<number> =>
  remove(db, { lock: lockSweepable(status), until: keptMs, batchSize: SWEEP_BATCH, goesOn });

/**
 * Removes jobs in batches. Each batch begins where the batch before ended, so that jobs that have to stay are
 * passed over only once. A batch is a transaction of two statements. The second statement begins after the
 * first has locked the jobs, so it sees all notifications that were made due before the lock.
 */
async function remove(db: SqlRunner, { lock, until, batchSize, goesOn }: Sweep): Promise<number> {
  let after = ['-infinity', NO_ID];
  for (let total = 0; ;) {
    const values = [until, batchSize, ...after];
    const batch = await db.transaction('pruneJobs', async (run) => {
      const [locked] = await run<Batch>(lock, values);
      if (locked === undefined || locked.jobIds.length === 0) return { locked, count: 0 };
      const [removed] = await run<{ count: number }>(removeLocked, [locked.jobIds]);
      return { locked, count: removed?.count ?? 0 };
    });
    const { jobIds = [], createdAt = null, jobId = null } = batch.locked ?? {};
    total += batch.count;
    if (createdAt === null || jobId === null || jobIds.length < batchSize) return total;
    if (goesOn !== undefined && !(await goesOn())) return total;
    after = [createdAt.toISOString(), jobId];
  }
}
