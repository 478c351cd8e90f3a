import { columns, NOW, sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';
import { job, JOB_COLUMNS } from '../job.columns.js';
import { logNotifications, recipient } from '../job.settlement.sql.js';

/**
 * $1 jobId, $2 userId or null for any user, $3 the error message, $4 the notification's id.
 *
 * Returns no row if the job does not exist. Otherwise it returns one row: the state of the job before, and
 * the job if it is cancelled now. The cancellation takes the next run number, as a claim does. From then on
 * a write with an earlier run number is refused. This holds for a job that was started without a worker,
 * and for a job that was retried and cancelled again.
 */
export const cancelJob = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT ${job}
    FROM ${t.videoJobs} j
    WHERE j."jobId" = $1::uuid AND ($2::uuid IS NULL OR j."userId" = $2::uuid)
    FOR NO KEY UPDATE
  ), cancelled AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'failed',
      "cancelledAt" = ${NOW},
      "completedAt" = ${NOW},
      "runNumber" = j."runNumber" + 1,
      "workerId" = NULL,
      "errorMessage" = $3::text
    FROM locked
    WHERE j."jobId" = $1::uuid AND locked."status" IN ('pending', 'processing')
    RETURNING ${job}, $4::uuid AS "notificationId", ${recipient(t)} AS "recipientEmail"
  ), notified AS (${logNotifications(t, 'cancelled')}
  )
  SELECT locked."status" AS "statusBefore", locked."runNumber" AS "runNumberBefore",
    ${columns(JOB_COLUMNS, 'a', 'job.')}
  FROM locked LEFT JOIN (
    SELECT ${columns(JOB_COLUMNS, 'c')} FROM cancelled c
    UNION ALL
    SELECT ${columns(JOB_COLUMNS, 'l')} FROM locked l WHERE l."cancelledAt" IS NOT NULL
  ) AS a ON true`;
