import { conditions, countMatched, inBatches } from '../../sql/in.batches.js';
import type { BulkChange, BulkOutcome, Condition } from '../../sql/in.batches.js';
import type { SqlRunner } from '../../sql/sql.runner.js';
import { cancelledMessage } from '../control/job.cancellation.js';
import { announceChange, announceMoved } from '../job.changes.js';
import { announce } from '../job.events.js';
import type { CancelJobsFilter, RetryJobsFilter } from './bulk.inputs.js';
import { cancelLocked, retryLocked } from './job.bulk.sql.js';

/** Makes failed jobs pending again. Cancelled jobs stay cancelled. */
export function retryJobs(db: SqlRunner, filter: RetryJobsFilter): Promise<BulkOutcome> {
  return run(db, filter, {
    operation: 'retryJobs',
    changeable: `j."status" = 'failed' AND j."cancelledAt" IS NULL`,
    values: [],
    change: retryLocked,
    onChanged: (jobIds) => {
      announce(db.dataSource, 'jobs', jobIds.length, undefined, false);
      announceMoved(db.dataSource, undefined, () => jobIds.map((jobId) => ({ jobId })));
    },
  });
}

/** Cancels jobs that are pending or processing, each with its notification. */
export function cancelJobs(db: SqlRunner, filter: CancelJobsFilter): Promise<BulkOutcome> {
  const { status } = filter;
  const statuses = status === undefined ? `'pending', 'processing'` : `'${status}'`;
  return run(db, filter, {
    operation: 'cancelJobs',
    changeable: `j."status" IN (${statuses})`,
    values: [cancelledMessage(filter.reason)],
    change: cancelLocked,
    onChanged: (jobIds) => {
      announce(db.dataSource, 'notifications', jobIds.length, undefined);
      announceChange(db.dataSource, undefined, () => {
        return { jobs: jobIds.map((jobId) => ({ jobId })), areCancelled: true };
      });
    },
  });
}

function run(
  db: SqlRunner,
  filter: RetryJobsFilter | CancelJobsFilter,
  how: Omit<BulkChange, 'table' | 'key' | 'filter'>,
): Promise<BulkOutcome> {
  const change: BulkChange = {
    ...how,
    table: (t) => t.videoJobs,
    key: '"jobId"',
    filter: conditionOf(filter),
  };
  const { dryRun = false, limit } = filter;
  return dryRun ? countMatched(db, change, limit) : inBatches(db, change, limit);
}

function conditionOf(filter: Omit<RetryJobsFilter, 'status'>): Condition {
  const { userId, createdFrom, createdBefore, endedFrom, endedBefore, errorText } = filter;
  return conditions([
    ['j."userId" = ', userId, '::uuid'],
    ['j."createdAt" >= ', createdFrom, '::timestamptz'],
    ['j."createdAt" < ', createdBefore, '::timestamptz'],
    ['j."completedAt" >= ', endedFrom, '::timestamptz'],
    ['j."completedAt" < ', endedBefore, '::timestamptz'],
    ['strpos(lower(j."errorMessage"), lower(', errorText, '::text)) > 0'],
  ]);
}
