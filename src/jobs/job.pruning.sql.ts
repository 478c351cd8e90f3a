import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';

type Ended = 'completed' | 'failed';

/** The time before which jobs must have ended: $1 itself, or so many ms ago. */
const THEN = '$1::timestamptz';
const AGO = 'statement_timestamp() - make_interval(secs => $1::double precision / 1000)';

/** Whether no notification of the job `j` is to be delivered. */
const nothingToTell = (t: Tables): string => `NOT EXISTS (
          SELECT FROM ${t.notificationLog} n
          WHERE n."jobId" = j."jobId" AND n."deliveryStatus" = 'pending')`;

/** Which of the jobs `j` may be removed. */
const prunable = (t: Tables, status: Ended | undefined, until: string): string => `
      j."createdAt" < ${until} AND j."completedAt" < ${until}
        AND j."status" ${status === undefined ? `IN ('completed', 'failed')` : `= '${status}'`}
        AND ${nothingToTell(t)}`;

/** $1 the time before which jobs must have ended. */
export const countPrunable =
  (status: Ended | undefined) =>
  (t: Tables): Statement => sql`
  SELECT count(*)::integer AS "count" FROM ${t.videoJobs} j WHERE ${prunable(t, status, THEN)}`;

/**
 * $1 of `until`, $2 how many to lock at most, $3 and $4 `createdAt` and `jobId` of the job after which to
 * go on. One row: the ids of those that were locked, and the last of them. It walks `idx_jobs_created_at`
 * from there: a job is created before it ends. A job whose notification is still to be delivered stays.
 */
const lock = (t: Tables, status: Ended | undefined, until: string, turn = ''): Statement => sql`
  WITH ${turn === '' ? '' : `turn AS MATERIALIZED (SELECT ${turn} AS "isOurs"), `}locked AS MATERIALIZED (
    SELECT j."createdAt", j."jobId"
    FROM ${t.videoJobs} j
    WHERE ${prunable(t, status, until)}
      AND (j."createdAt", j."jobId") > ($3::timestamptz, $4::uuid)
      ${turn === '' ? '' : 'AND (SELECT "isOurs" FROM turn)'}
    ORDER BY j."createdAt", j."jobId"
    LIMIT $2::integer
    FOR UPDATE OF j SKIP LOCKED
  )
  SELECT ARRAY(SELECT "jobId" FROM locked) AS "jobIds", last."createdAt", last."jobId"
  FROM (SELECT) AS one
  LEFT JOIN (
    SELECT * FROM locked ORDER BY "createdAt" DESC, "jobId" DESC LIMIT 1
  ) AS last ON true`;

/**
 * $1 the ids of jobs that this transaction has locked. One row: how many were removed. Until they were locked
 * a notification may have been made due again, which changes no column of its job: only a statement that
 * begins after the lock sees it.
 */
export const removeLocked = (t: Tables): Statement => sql`
  WITH removed AS (
    DELETE FROM ${t.videoJobs} j
    WHERE j."jobId" = ANY(ARRAY(SELECT unnest($1::uuid[]))) AND ${nothingToTell(t)}
    RETURNING 1
  )
  SELECT count(*)::integer AS "count" FROM removed`;

/** $1 the time before which jobs must have ended; $2 to $4 as in `lock`. */
export const lockPrunable =
  (status: Ended | undefined) =>
  (t: Tables): Statement =>
    lock(t, status, THEN);

/**
 * $1 how long ago, in ms, jobs must have ended; $2 to $4 as in `lock`. It finds nothing while another
 * worker removes jobs: the lock is of this transaction alone, so that it works behind any pooler.
 */
export const lockSweepable =
  (status: Ended) =>
  (t: Tables): Statement =>
    lock(
      t,
      status,
      AGO,
      `pg_try_advisory_xact_lock(${SWEEP_LOCK}, '${t.videoJobs}'::regclass::oid::integer)`,
    );

/** The first half of the key of the lock; the other is the table's. */
export const SWEEP_LOCK = 1_179_796_053;
