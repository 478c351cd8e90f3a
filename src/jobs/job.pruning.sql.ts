import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';

type Ended = 'completed' | 'failed';

/** The time before which jobs must have ended: $1 itself, or $1 ms ago. */
const THEN = '$1::timestamptz';
const AGO = 'statement_timestamp() - make_interval(secs => $1::double precision / 1000)';

/** Whether no notification of the job `j` still has to be delivered. */
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
 * $1 as in `until`, $2 how many jobs to lock at most, $3 and $4 `createdAt` and `jobId` of the job after
 * which to go on. Returns one row: the ids of the locked jobs, and the last job. It reads
 * `idx_jobs_created_at` from that job on, and stops at `until`, because a job is created before it ends. A
 * job whose notification still has to be delivered stays.
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
 * $1 the ids of jobs that this transaction has locked. Returns one row: how many jobs were removed. Before
 * the lock, somebody may have made a notification of a job due again. This changes no column of the job, so
 * only a statement that begins after the lock sees it.
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
 * worker removes jobs. Its advisory lock ends with the transaction, so it works behind any pooler.
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

/** The first half of the key of the advisory lock. The second half is the id of the table. */
export const SWEEP_LOCK = 1_179_796_053;
