import type { EntityManager } from 'typeorm';
import { InvalidInputError, JobNotFoundError, LeaseLostError } from '../../errors.js';
import { JobStatus } from '../../schema/entities/index.js';
import type { SqlRunner } from '../../sql/sql.runner.js';
import type { JobHandle } from '../job.inputs.js';
import { lockJob } from './job.fence.sql.js';

interface LockedJob {
  readonly status: JobStatus;
  readonly runNumber: number;
  readonly workerId: string | null;
  readonly isCancelled: boolean;
}

/**
 * Locks the row of a job, checks that the caller holds its run, and then runs the application's writes.
 *
 * @param manager - of the transaction that writes
 * @throws JobNotFoundError, LeaseLostError; `work` was not called
 */
export async function whileHeld<T>(
  db: SqlRunner,
  { jobId, runNumber, workerId }: JobHandle,
  manager: EntityManager,
  work: () => Promise<T>,
): Promise<T> {
  const operation = 'whileHeld';
  if (manager.queryRunner?.isTransactionActive !== true) {
    const message = 'must be that of a transaction, which holds the lock until it ends';
    throw new InvalidInputError(operation, [{ property: 'manager', message }]);
  }
  const [row] = await db.run<LockedJob>(operation, lockJob, [jobId], { manager });
  if (row === undefined) throw new JobNotFoundError(jobId);
  const isHeld =
    row.status === JobStatus.PROCESSING && row.runNumber === runNumber && row.workerId === workerId;
  if (!isHeld) throw new LeaseLostError({ jobId, ...row });
  return work();
}
