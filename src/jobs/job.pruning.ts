import type { Tables } from '../schema/tables.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import type { PruneJobsInput } from './job.inputs.js';
import { countPrunable, lockPrunable, lockSweepable, removeLocked } from './job.pruning.sql.js';

/** What a batch has locked. */
interface Batch {
  readonly jobIds: readonly string[];
  /** The last job of it; null when there was none. */
  readonly createdAt: Date | null;
  readonly jobId: string | null;
}

const NO_ID = '00000000-0000-0000-0000-000000000000';

/** Which jobs are removed, and how many in one transaction. */
interface Sweep {
  /** Locks a batch of them. */
  readonly lock: (t: Tables) => Statement;
  /** The first parameter: which time is long enough ago. */
  readonly until: unknown;
  readonly batchSize: number;
  /** Asked after each batch whether there shall be another. */
  goesOn?(): Promise<boolean>;
}

/**
 * Removes jobs that ended before a time, from the oldest on.
 *
 * @returns how many were removed, or would be
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

/** How many jobs a worker removes in one transaction: few, because it works on others meanwhile. */
const SWEEP_BATCH = 200;

/**
 * Removes jobs that ended long enough ago by the clock of the database, unless another worker is at it.
 *
 * @param keptMs - for how long they were to be kept, in ms
 * @param goesOn - asked after each batch whether there shall be another
 * @returns how many were removed
 */
export const sweepJobs = (
  db: SqlRunner,
  status: 'completed' | 'failed',
  keptMs: number,
  goesOn: () => Promise<boolean>,
): Promise<number> =>
  remove(db, { lock: lockSweepable(status), until: keptMs, batchSize: SWEEP_BATCH, goesOn });

/**
 * Each batch goes on where the one before ended, so that what has to stay is passed over once, and not again
 * for each batch. It is a transaction of two statements: what the second sees of notifications is no older
 * than the locks of the first.
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
