import { NEW_ID, NOW } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';
import { logNotifications, recipient } from '../job.settlement.sql.js';

/** A CTE that makes the jobs in `locked` pending, as `retryJob` does. It has no parameter. */
export const retryLocked = (t: Tables): string => `changed AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'pending',
      "startedAt" = NULL,
      "completedAt" = NULL,
      "errorMessage" = NULL,
      "workerId" = NULL,
      "attempts" = 0,
      "cancelledAt" = NULL,
      "availableAt" = ${NOW}
    WHERE j."jobId" = ANY(ARRAY(SELECT "jobId" FROM locked))
    RETURNING j."jobId"
  )`;

/** CTEs that cancel the jobs in `locked`, as `cancelJob` does. The parameter is the error message. */
export const cancelLocked = (t: Tables, first: number): string => `changed AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'failed',
      "cancelledAt" = ${NOW},
      "completedAt" = ${NOW},
      "runNumber" = j."runNumber" + 1,
      "workerId" = NULL,
      "errorMessage" = $${first}::text
    WHERE j."jobId" = ANY(ARRAY(SELECT "jobId" FROM locked))
    RETURNING j."jobId", j."status", j."runNumber", ${NEW_ID} AS "notificationId",
      ${recipient(t)} AS "recipientEmail"
  ), notified AS (${logNotifications(t, 'changed')}
  )`;
