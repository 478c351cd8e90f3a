import { JobStatus } from '../../schema/entities/index.js';
import type { VideoJob } from '../../schema/entities/index.js';
import type { SqlRunner } from '../../sql/sql.runner.js';
import type { TransactionOptions } from '../../sql/transaction.options.js';
import { announceChange } from '../job.changes.js';
import { announce } from '../job.events.js';
import type { Row } from '../job.row.js';
import { movedJob } from '../job.settlement.js';
import { uuidV7 } from '../uuid.js';
import { cancelJob as statement } from './job.cancellation.sql.js';

/** Whose job is cancelled, and why. */
export interface Cancellation {
  readonly userId?: string | undefined;
  readonly reason?: string | undefined;
}

/** The error message of a cancelled job, for its user. */
export const cancelledMessage = (reason: string | undefined): string =>
  reason === undefined ? 'The job was cancelled.' : `The job was cancelled: ${reason}`;

/**
 * Cancels a job. If its worker runs in this process, tells the worker at once.
 *
 * @throws JobNotFoundError, InvalidJobTransitionError
 */
export async function cancelJob(
  db: SqlRunner,
  jobId: string,
  { userId, reason }: Cancellation,
  tx: TransactionOptions,
): Promise<VideoJob> {
  const values = [jobId, userId ?? null, cancelledMessage(reason), uuidV7()];
  const [row] = await db.run<Row>('cancelJob', statement, values, tx);
  const job = movedJob(jobId, 'cancelled', row);
  if (row?.['statusBefore'] === JobStatus.FAILED) return job;
  announce(db.dataSource, 'notifications', 1, tx.manager);
  announceChange(db.dataSource, tx.manager, () => {
    return { jobs: [{ jobId: job.jobId }], areCancelled: true };
  });
  return job;
}
