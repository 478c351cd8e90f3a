import type { SqlRunner } from '../sql/sql.runner.js';
import type { PruneJobsInput } from './job.inputs.js';
import { countPrunable, pruneJobs as pruneBatch } from './job.pruning.sql.js';

/** What a batch removed. */
interface Batch {
  readonly count: number;
  /** The last job of it; null when there was none. */
  readonly createdAt: Date | null;
  readonly jobId: string | null;
}

const NO_ID = '00000000-0000-0000-0000-000000000000';

/**
 * Removes jobs that ended before a time, from the oldest on. Each batch goes on where the one before
 * ended, so that what has to stay is passed over once, and not again for each batch.
 *
 * @param goesOn - asked after each batch whether there shall be another
 * @returns how many were removed, or would be
 */
export async function pruneJobs(
  db: SqlRunner,
  { olderThan, batchSize = 1_000, status, dryRun = false }: PruneJobsInput,
  goesOn: () => boolean = () => true,
): Promise<number> {
  const before = olderThan.toISOString();
  if (dryRun) {
    const [row] = await db.run<{ count: number }>('pruneJobs', countPrunable(status), [before]);
    return row?.count ?? 0;
  }
  const statement = pruneBatch(status);
  let after = ['-infinity', NO_ID];
  for (let total = 0; ;) {
    const values = [before, batchSize, ...after];
    const [batch] = await db.run<Batch>('pruneJobs', statement, values);
    total += batch?.count ?? 0;
    if (!batch?.createdAt || batch.jobId === null || batch.count < batchSize || !goesOn()) {
      return total;
    }
    after = [batch.createdAt.toISOString(), batch.jobId];
  }
}
