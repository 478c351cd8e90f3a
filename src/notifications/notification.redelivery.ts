import { conditions, countMatched, inBatches } from '../sql/in.batches.js';
import type { BulkChange, BulkOutcome } from '../sql/in.batches.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { RedeliverNotificationsFilter } from './notification.inputs.js';
import { redeliverLocked } from './notification.sql.js';

/** Makes failed notifications due again. Workers find them when they next look. */
export function redeliverNotifications(
  db: SqlRunner,
  filter: RedeliverNotificationsFilter,
): Promise<BulkOutcome> {
  const { userId, jobId, createdFrom, createdBefore, errorText, limit, dryRun = false } = filter;
  const change: BulkChange = {
    operation: 'redeliverNotifications',
    table: (t) => t.notificationLog,
    key: '"notificationId"',
    changeable: `j."deliveryStatus" = 'failed'`,
    filter: conditions([
      [
        (t) => `EXISTS (SELECT FROM ${t.videoJobs} v WHERE v."jobId" = j."jobId" AND v."userId" = `,
        userId,
        '::uuid)',
      ],
      ['j."jobId" = ', jobId, '::uuid'],
      ['j."createdAt" >= ', createdFrom, '::timestamptz'],
      ['j."createdAt" < ', createdBefore, '::timestamptz'],
      ['strpos(lower(j."errorMessage"), lower(', errorText, '::text)) > 0'],
    ]),
    values: [],
    change: redeliverLocked,
  };
  return dryRun ? countMatched(db, change, limit) : inBatches(db, change, limit);
}
