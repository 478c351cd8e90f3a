import type { SqlRunner } from '../sql/sql.runner.js';
import { pruneJobs as statement } from './job.pruning.sql.js';

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
 * @returns how many were removed
 */
export async function pruneJobs(
  db: SqlRunner,
  olderThan: Date,
  batchSize: number,
): Promise<number> {
  let after = ['-infinity', NO_ID];
  for (let total = 0; ;) {
    const values = [olderThan.toISOString(), batchSize, ...after];
    const [batch] = await db.run<Batch>('pruneJobs', statement, values);
    total += batch?.count ?? 0;
    if (!batch?.createdAt || batch.jobId === null || batch.count < batchSize) return total;
    after = [batch.createdAt.toISOString(), batch.jobId];
  }
}
