import { arrays, sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';

const SAME_RUN = `CASE WHEN j."status" = 'processing'
      THEN j."runNumber" = i."runNumber" AND j."workerId" IS NOT DISTINCT FROM i."workerId" END`;

/**
 * Arrays: $1 jobId, $2 runNumber, $3 workerId, $4 percent, $5 message or null.
 *
 * Returns a row for each run that is still held: whether its progress was written, or its row was locked.
 * The statement waits for no lock. It does not write a progress that is already there. It changes no column
 * that has an index, so PostgreSQL can make a HOT update. The check of the run is inside a CASE: with plain
 * conditions the planner would read an index of the status.
 */
export const reportProgress = (t: Tables): Statement => sql`
  WITH held AS MATERIALIZED (
    SELECT i.*, (j."progress", j."progressMessage") IS DISTINCT FROM (i."percent", i."message") AS "differs"
    FROM ${arrays('uuid', 'integer', 'varchar', 'smallint', 'varchar')}
      AS i("jobId", "runNumber", "workerId", "percent", "message")
    JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    WHERE ${SAME_RUN}
  ), locked AS MATERIALIZED (
    SELECT i.*
    FROM held i JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    WHERE i."differs" AND ${SAME_RUN}
    FOR NO KEY UPDATE OF j SKIP LOCKED
  ), written AS (
    UPDATE ${t.videoJobs} j
    SET "progress" = l."percent", "progressMessage" = l."message"
    FROM locked l
    WHERE j."jobId" = l."jobId"
    RETURNING j."jobId"
  )
  SELECT held."jobId", written."jobId" IS NOT NULL AS "written",
    held."differs" AND written."jobId" IS NULL AS "locked"
  FROM held LEFT JOIN written ON written."jobId" = held."jobId"`;
