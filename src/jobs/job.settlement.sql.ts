import { arrays, columns, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { job, JOB_COLUMNS, UNCHANGED } from './job.columns.js';

/** The e-mail address of the user of the job `j`, at this moment. */
export const recipient = (t: Tables): string =>
  `(SELECT u."email" FROM ${t.users} u WHERE u."userId" = j."userId")`;

/** Logs the notification of each job in `ended`, a row of which has all that it needs. */
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
 * Every move out of `processing`, of one job or of many: it waits for their locks, in `jobId` order. The
 * parameters are arrays with an entry for each job: $1 jobId, $2 runNumber, $3 workerId, $4 the next
 * status, $5 resultUrl, $6 frameCount, $7 errorMessage, $8 what `job_attempt_errors` keeps, $9 ms until
 * a pending job is due, $10 the attempts given back, $11 the notification's id, $12 output, null if no
 * job has any.
 *
 * One row for each job that exists, by its "position" in the input: its state before, and, if the
 * caller held it, the job after, and who is told. The row is locked first, so that the verdict and the
 * update see the same version of it whatever else runs. The run's notification is in the same
 * statement: neither exists without the other.
 *
 * A run that a service without runs started after a retry has the number of the run before, which is
 * reported already: it gets the next number when it ends.
 */
export const settleJobs = (t: Tables): Statement => settle(t);

/**
 * As {@link settleJobs}, but it waits for nobody: of a job whose row is locked comes a row that has nothing
 * but its "position".
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
 * Completes jobs that have nothing to do with each other, by their workers. It passes over each that is
 * locked, or that its caller does not hold, and so it needs no order: it waits for nobody. A job
 * without a worker is none of these. The fence stands in a CASE: as a plain condition it makes the
 * planner read an index of the status.
 *
 * Arrays: $1 jobId, $2 runNumber, $3 resultUrl, $4 frameCount, $5 the notification's id, $6 output, null
 * if no job has any; then $7.
 *
 * @param worker - the type of the array $7 of those who hold the jobs; or of $7, if all have one holder
 * @param returning - what to keep of a job that was completed
 * @param result - what to select of `completed`
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

/** $7 the array of workerIds. One row for each job that was completed, by its "position". */
export const completeJobsTogether = (t: Tables): Statement =>
  completeTogether(
    t,
    'varchar[]',
    job,
    `SELECT c."position"::integer, c."recipientEmail", ${columns(JOB_COLUMNS, 'c')} FROM completed c`,
  );

/**
 * $7 the workerId of all jobs. One row: how many were completed, and if that is not all of them, their
 * positions.
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
 * $1 jobId, $2 userId or null for any. One row unless the job does not exist: its state before, and the
 * job if it was moved.
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
