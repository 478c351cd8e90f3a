import type { Tables } from '../schema/tables.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import type { PruneJobsInput } from './job.inputs.js';
import {
  countPrunable,
  pruneJobs as pruneBatch,
  sweepJobs as sweepBatch,
} from './job.pruning.sql.js';

/** What a batch removed. */
interface Batch {
  readonly count: number;
  /** The last job of it; null when there was none. */
  readonly createdAt: Date | null;
  readonly jobId: string | null;
}

const NO_ID = '00000000-0000-0000-0000-000000000000';

/** Which jobs are removed, and how many by one statement. */
interface Sweep {
  readonly statement: (t: Tables) => Statement;
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
  if (!dryRun) return remove(db, { statement: pruneBatch(status), until, batchSize });
  const [row] = await db.run<{ count: number }>('pruneJobs', countPrunable(status), [until]);
  return row?.count ?? 0;
}

/** How many jobs a worker removes by one statement: few, because it works on others meanwhile. */
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
  remove(db, { statement: sweepBatch(status), until: keptMs, batchSize: SWEEP_BATCH, goesOn });

/**
 * Each batch goes on where the one before ended, so that what has to stay is passed over once, and not again
 * for each batch.
 */
async function remove(
  db: SqlRunner,
  { statement, until, batchSize, goesOn }: Sweep,
): Promise<number> {
  let after = ['-infinity', NO_ID];
  for (let total = 0; ;) {
    const values = [until, batchSize, ...after];
    const [batch] = await db.run<Batch>('pruneJobs', statement, values);
    total += batch?.count ?? 0;
    if (!batch?.createdAt || batch.jobId === null || batch.count < batchSize) return total;
    if (goesOn !== undefined && !(await goesOn())) return total;
    after = [batch.createdAt.toISOString(), batch.jobId];
  }
}
