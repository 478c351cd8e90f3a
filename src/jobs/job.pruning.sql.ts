import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';

type Ended = 'completed' | 'failed';

/** Which of the jobs `j` may be removed: $1 the time before which they must have ended. */
const prunable = (t: Tables, status: Ended | undefined): string => `
      j."createdAt" < $1::timestamptz AND j."completedAt" < $1::timestamptz
        AND j."status" ${status === undefined ? `IN ('completed', 'failed')` : `= '${status}'`}
        AND NOT EXISTS (
          SELECT FROM ${t.notificationLog} n
          WHERE n."jobId" = j."jobId" AND n."deliveryStatus" = 'pending')`;

/** $1 the time before which jobs must have ended. */
export const countPrunable =
  (status: Ended | undefined) =>
  (t: Tables): Statement => sql`
  SELECT count(*)::integer AS "count" FROM ${t.videoJobs} j WHERE ${prunable(t, status)}`;

/**
 * $1 the time before which jobs must have ended, $2 how many to remove at most, $3 and $4 `createdAt` and
 * `jobId` of the job after which to go on. One row: how many were removed, and the last of them. It walks
 * `idx_jobs_created_at` from there: a job is created before it ends. A job whose notification is still to
 * be delivered stays.
 */
export const pruneJobs =
  (status: Ended | undefined) =>
  (t: Tables): Statement => sql`
  WITH removed AS (
    DELETE FROM ${t.videoJobs}
    WHERE "jobId" = ANY(ARRAY(
      SELECT j."jobId"
      FROM ${t.videoJobs} j
      WHERE ${prunable(t, status)}
        AND (j."createdAt", j."jobId") > ($3::timestamptz, $4::uuid)
      ORDER BY j."createdAt", j."jobId"
      LIMIT $2::integer
      FOR UPDATE OF j SKIP LOCKED))
    RETURNING "createdAt", "jobId"
  )
  SELECT (SELECT count(*)::integer FROM removed) AS "count", last."createdAt", last."jobId"
  FROM (SELECT) AS one
  LEFT JOIN (
    SELECT * FROM removed ORDER BY "createdAt" DESC, "jobId" DESC LIMIT 1
  ) AS last ON true`;
