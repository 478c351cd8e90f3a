import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';

/**
 * $1 the time before which jobs must have ended, $2 how many to remove at most. It walks
 * `idx_jobs_created_at` from its old end: a job is created before it ends. A job whose notification
 * is still to be delivered stays.
 */
export const pruneJobs = (t: Tables): Statement => sql`
  WITH removed AS (
    DELETE FROM ${t.videoJobs}
    WHERE "jobId" = ANY(ARRAY(
      SELECT j."jobId"
      FROM ${t.videoJobs} j
      WHERE j."createdAt" < $1::timestamptz AND j."completedAt" < $1::timestamptz
        AND j."status" IN ('completed', 'failed')
        AND NOT EXISTS (
          SELECT FROM ${t.notificationLog} n
          WHERE n."jobId" = j."jobId" AND n."deliveryStatus" = 'pending')
      ORDER BY j."createdAt"
      LIMIT $2::integer
      FOR UPDATE OF j SKIP LOCKED))
    RETURNING 1
  )
  SELECT count(*)::integer AS "count" FROM removed`;
