import { arrays, columns, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { job, JOB_COLUMNS, UNCHANGED } from './job.columns.js';

/** The e-mail address of the user of the job `j`, at this moment. */
export const recipient = (t: Tables): string =>
  `(SELECT u."email" FROM ${t.users} u WHERE u."userId" = j."userId")`;

/** Logs the notification of each final job in `ended`. The rows of `ended` have all values that it needs. */
export const logNotifications = (t: Tables, ended: string): string => `
    INSERT INTO ${t.notificationLog}
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber", "createdAt",
        "availableAt")
    SELECT e."notificationId", e."jobId",
      CASE e."status" WHEN 'completed' THEN 'success' ELSE 'failure' END,
      e."recipientEmail", e."runNumber", ${NOW}, ${NOW}
    FROM ${ended} e
    WHERE e."status" <> 'pending'`;

const SETTLEMENT_TYPES =
  'uuid integer varchar varchar text integer text text integer integer uuid jsonb'.split(' ');

/**
 * Makes every move out of `processing`, for one job or for many. It waits for locked rows, in the order of
 * `jobId`. The parameters are arrays with an entry for each job: $1 jobId, $2 runNumber, $3 workerId, $4 the
 * next status, $5 resultUrl, $6 frameCount, $7 errorMessage, $8 the text for `job_attempt_errors`, $9 ms until
 * a pending job is due, $10 the attempts given back, $11 the notification's id, $12 output (null if no
 * job has any).
 *
 * Returns one row for each job that exists, with its "position" in the input. The row has the state of the
 * job before. If the caller held the job, it also has the job after, and the recipient. The job's row is
 * locked first, so that the check and the update see the same version of it. The same statement writes the
 * notification of the run, so that neither exists without the other.
 *
 * A service of an older version may start a retried job without a new run number. The run then has the number
 * of the run before, which has its notification already. So the run gets the next number when it ends.
 */
export const settleJobs = (t: Tables): Statement => settle(t);

/**
 * As {@link settleJobs}, but it waits for no lock. For a job whose row is locked it returns a row that has
 * only the "position".
 */
export const settleUnlockedJobs = (t: Tables): Statement =>
  settle(
    t,
    'SKIP LOCKED',
    `
  UNION ALL
  SELECT i."position"::integer, NULL, NULL, NULL, NULL, NULL,
    ${JOB_COLUMNS.map(() => 'NULL').join(', ')}
  FROM unnest((SELECT $1::uuid[])) WITH ORDINALITY AS i("jobId", "position")
  JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
  WHERE i."position" NOT IN (SELECT "position" FROM locked)`,
  );

const settle = (t: Tables, wait = '', more = ''): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT i.*, j."status" AS "statusBefore", j."runNumber" AS "runNumberBefore",
      j."runNumber" + CASE
        WHEN j."workerId" IS NULL AND i."next" <> 'pending' AND EXISTS (
          SELECT FROM ${t.notificationLog} n
          WHERE n."jobId" = j."jobId" AND n."runNumber" = j."runNumber") THEN 1
        ELSE 0 END AS "runNumberAfter",
      j."runNumber" <> i."runNumber" OR j."workerId" IS DISTINCT FROM i."workerId" AS "isLost",
      j."cancelledAt" IS NOT NULL AS "isCancelled"
    FROM ${arrays(...SETTLEMENT_TYPES)}
      WITH ORDINALITY AS i("jobId", "runNumber", "workerId", "next", "resultUrl", "frameCount",
        "errorMessage", "attemptError", "delay", "refund", "notificationId", "output", "position")
    JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    ORDER BY j."jobId"
    FOR NO KEY UPDATE OF j ${wait}
  ), settled AS (
    UPDATE ${t.videoJobs} j
    SET ${UNCHANGED},
      "status" = l."next",
      "resultUrl" = l."resultUrl",
      "frameCount" = l."frameCount",
      "output" = l."output",
      "progress" = CASE l."next" WHEN 'completed' THEN 100 ELSE j."progress" END,
      "errorMessage" =
        CASE l."next" WHEN 'completed' THEN NULL ELSE COALESCE(l."errorMessage", j."errorMessage") END,
      "startedAt" = CASE l."next" WHEN 'pending' THEN NULL ELSE j."startedAt" END,
      "completedAt" = CASE l."next" WHEN 'pending' THEN NULL ELSE ${NOW} END,
      "availableAt" = CASE l."next"
        WHEN 'pending' THEN ${NOW} + make_interval(secs => l."delay"::double precision / 1000)
        ELSE j."availableAt" END,
      "runNumber" = l."runNumberAfter",
      "workerId" = NULL,
      "attempts" = GREATEST(j."attempts" - l."refund", 0)
    FROM locked l
    WHERE j."jobId" = l."jobId" AND l."statusBefore" = 'processing' AND NOT l."isLost"
    RETURNING ${job}, l."position", l."statusBefore", l."runNumberBefore", l."isLost",
      l."isCancelled", l."workerId" AS "workerIdBefore", l."attemptError", l."notificationId",
      ${recipient(t)} AS "recipientEmail"
  ), notified AS (${logNotifications(t, 'settled')}
  ), noted AS (
    INSERT INTO ${t.jobAttemptErrors} ("jobId", "runNumber", "workerId", "errorMessage", "createdAt")
    SELECT "jobId", "runNumber", "workerIdBefore", "attemptError", ${NOW}
    FROM settled
    WHERE "attemptError" IS NOT NULL
    ON CONFLICT DO NOTHING
  )
  SELECT s."position"::integer, s."statusBefore", s."runNumberBefore", s."isLost", s."isCancelled",
    s."recipientEmail",
    ${columns(JOB_COLUMNS, 's')}
  FROM settled s
  UNION ALL
  SELECT l."position"::integer, l."statusBefore", l."runNumberBefore", l."isLost", l."isCancelled", NULL,
    ${JOB_COLUMNS.map(() => 'NULL').join(', ')}
  FROM locked l
  WHERE l."statusBefore" <> 'processing' OR l."isLost"${more}`;

/**
 * Completes jobs of independent calls, each held by a worker. It passes over jobs whose row is locked, and
 * over jobs that the caller does not hold. It waits for no lock, so it needs no order. It never completes a
 * job that was started without a worker. The check of the run is inside a CASE: with plain conditions the
 * planner would read an index of the status.
 *
 * Arrays: $1 jobId, $2 runNumber, $3 resultUrl, $4 frameCount, $5 the notification's id, $6 output (null
 * if no job has any). Then comes $7.
 *
 * @param worker - the type of $7: an array with the worker of each job, or one worker that holds all jobs
 * @param returning - the columns to return of a completed job
 * @param result - the query that reads `completed`
 */
const completeTogether = (
  t: Tables,
  worker: 'varchar[]' | 'varchar',
  returning: string,
  result: string,
): Statement => {
  const [types, name, holder] =
    worker === 'varchar[]' ? [['varchar'], '"workerId",', 'i."workerId"'] : [[], '', '$7::varchar'];
  return sql`
  WITH held AS MATERIALIZED (
    SELECT i.*
    FROM ${arrays('uuid', 'integer', 'text', 'integer', 'uuid', 'jsonb', ...types)}
      WITH ORDINALITY AS i("jobId", "runNumber", "resultUrl", "frameCount", "notificationId", "output",
        ${name} "position")
    JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    WHERE CASE WHEN j."status" = 'processing'
      THEN j."runNumber" = i."runNumber" AND j."workerId" = ${holder} END
    FOR NO KEY UPDATE OF j SKIP LOCKED
  ), completed AS (
    UPDATE ${t.videoJobs} j
    SET ${UNCHANGED},
      "status" = 'completed',
      "resultUrl" = h."resultUrl",
      "frameCount" = h."frameCount",
      "output" = h."output",
      "progress" = 100,
      "errorMessage" = NULL,
      "completedAt" = ${NOW},
      "workerId" = NULL
    FROM held h
    WHERE j."jobId" = h."jobId"
    RETURNING ${returning}, h."position", h."notificationId", ${recipient(t)} AS "recipientEmail"
  ), notified AS (${logNotifications(t, 'completed')}
  )
  ${result}`;
};

/** $7 the array of workerIds. Returns one row for each completed job, with its "position". */
export const completeJobsTogether = (t: Tables): Statement =>
  completeTogether(
    t,
    'varchar[]',
    job,
    `SELECT c."position"::integer, c."recipientEmail", ${columns(JOB_COLUMNS, 'c')} FROM completed c`,
  );

/**
 * $7 the workerId of all jobs. Returns one row: how many jobs were completed, and their positions if some
 * were not completed.
 */
export const completeJobsOfWorker = (t: Tables): Statement =>
  completeTogether(
    t,
    'varchar',
    columns(['jobId', 'status', 'runNumber'], 'j'),
    `SELECT count(*)::integer AS "count",
    CASE WHEN count(*) < cardinality($1::uuid[]) THEN jsonb_agg("position") END AS "positions"
  FROM completed`,
  );

/**
 * $1 jobId, $2 userId or null for any user. Returns no row if the job does not exist. Otherwise it returns
 * one row: the state of the job before, and the job if it is pending again.
 */
export const retryJob = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT "jobId", "status", "runNumber", "workerId"
    FROM ${t.videoJobs}
    WHERE "jobId" = $1::uuid AND ($2::uuid IS NULL OR "userId" = $2::uuid)
    FOR NO KEY UPDATE
  ), retried AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'pending',
      "startedAt" = NULL,
      "completedAt" = NULL,
      "errorMessage" = NULL,
      "workerId" = NULL,
      "attempts" = 0,
      "cancelledAt" = NULL,
      "availableAt" = ${NOW}
    FROM locked
    WHERE j."jobId" = $1::uuid AND locked."status" = 'failed'
    RETURNING ${job}
  )
  SELECT locked."status" AS "statusBefore", locked."runNumber" AS "runNumberBefore",
    locked."workerId" AS "workerIdBefore", ${columns(JOB_COLUMNS, 'retried', 'job.')}
  FROM locked LEFT JOIN retried ON true`;
