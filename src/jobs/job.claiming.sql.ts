import { arrays, columns, NEW_ID, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { job, JOB_COLUMNS } from './job.columns.js';

/**
 * What may be claimed. The literals make the partial index `idx_jobs_claimable` usable in a generic
 * plan; a processing job without a worker is never taken from its owner.
 */
const CLAIMABLE = `("status" = 'pending' OR ("status" = 'processing' AND "workerId" IS NOT NULL))
        AND "availableAt" <= statement_timestamp()`;

/**
 * A job whose worker was lost, and which has one try left. It may be what ends its workers, or it was
 * only with the one that does, each time: such jobs are found out by running them apart.
 */
const SUSPECT = `("status" = 'processing' AND "attempts" = $4::integer - 1)`;

/** How many jobs a claim found, and until when they were due. */
const FOUND = `(SELECT count(*)::integer FROM found) AS "found",
    (SELECT max("availableAt") FROM found) AS "dueUntil"`;

/** What is kept of a run whose lease ended before it did. */
const LOST_RUN = `format('The worker was lost: the lease of %s ended before its run did.', "workerId")`;

/**
 * $1 jobId, $2 workerId or null, $3 lease in ms. One row unless the job does not exist: its state
 * before, and the started job if it could be started.
 */
export const startJob = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT "jobId", "status", "runNumber", "workerId", "availableAt"
    FROM ${t.videoJobs}
    WHERE "jobId" = $1::uuid
    FOR NO KEY UPDATE
  ), started AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'processing',
      "startedAt" = ${NOW},
      "availableAt" = ${NOW} + make_interval(secs => $3::double precision / 1000),
      "runNumber" = j."runNumber" + 1,
      "workerId" = $2::varchar,
      "attempts" = j."attempts" + 1
    FROM locked
    WHERE j."jobId" = $1::uuid
      AND (locked."status" = 'pending'
        OR (locked."status" = 'processing' AND locked."workerId" IS NOT NULL
          AND locked."availableAt" <= statement_timestamp()))
    RETURNING ${job}
  ), noted AS (
    INSERT INTO ${t.jobAttemptErrors} ("jobId", "runNumber", "workerId", "errorMessage", "createdAt")
    SELECT "jobId", "runNumber", "workerId", ${LOST_RUN}, ${NOW}
    FROM locked
    WHERE "status" = 'processing' AND EXISTS (SELECT FROM started)
    ON CONFLICT DO NOTHING
  )
  SELECT locked."status" AS "statusBefore", locked."runNumber" AS "runNumberBefore",
    ${columns(JOB_COLUMNS, 'started', 'job.')}
  FROM locked LEFT JOIN started ON true`;

/**
 * $1 limit, $2 lease in ms, $3 workerId, $4 maxAttempts, $5 the time from which jobs are due. The
 * claimed jobs, and those that had no try left: these fail here, with their notification.
 * `= ANY(ARRAY(...))` stays on the primary key where `UPDATE ... FROM` falls back to a sequential
 * scan. Plain `FOR UPDATE` would also skip jobs for which a notification is being inserted.
 *
 * A job without a try left whose run is reported already was retried by a service that knows no
 * attempts: it has all of its tries again.
 *
 * $6 says how many suspects it may claim: true, one; false, none; null, any number. With $7, in ms, it
 * claims only jobs whose leases have ended within that time.
 */
export const claimJobs = (t: Tables): Statement => sql`
  WITH found AS MATERIALIZED (
    SELECT "jobId", "status", "runNumber", "workerId", "availableAt",
      CASE WHEN "attempts" >= $4::integer THEN NOT EXISTS (
        SELECT FROM ${t.notificationLog} n
        WHERE n."jobId" = j."jobId" AND n."runNumber" = j."runNumber")
      ELSE false END AS "spent",
      ${SUSPECT} AS "suspect"
    FROM ${t.videoJobs} j
    WHERE ${CLAIMABLE}
      AND "availableAt" >= GREATEST($5::timestamptz,
        statement_timestamp() - make_interval(secs => $7::double precision / 1000))
      AND ($7::double precision IS NULL OR "status" = 'processing')
      AND ($6::boolean IS NOT FALSE OR NOT ${SUSPECT})
    ORDER BY "availableAt"
    LIMIT $1::integer
    FOR NO KEY UPDATE SKIP LOCKED
  ), chosen AS MATERIALIZED (
    SELECT * FROM found WHERE $6::boolean IS NULL OR NOT "suspect"
    UNION ALL
    (SELECT * FROM found WHERE $6::boolean AND "suspect" ORDER BY "availableAt" LIMIT 1)
  ), noted AS (
    INSERT INTO ${t.jobAttemptErrors} ("jobId", "runNumber", "workerId", "errorMessage", "createdAt")
    SELECT "jobId", "runNumber", "workerId", ${LOST_RUN}, ${NOW}
    FROM chosen
    WHERE "status" = 'processing'
    ON CONFLICT DO NOTHING
  ), exhausted AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'failed',
      "completedAt" = ${NOW},
      "workerId" = NULL,
      "errorMessage" = CASE "status"
        WHEN 'pending' THEN COALESCE("errorMessage", format('Gave up after %s attempts.', "attempts"))
        ELSE format('Gave up after %s attempts: worker %s was lost during run %s.',
          "attempts", "workerId", "runNumber")
        END
    WHERE "jobId" = ANY(ARRAY(SELECT "jobId" FROM chosen WHERE "spent"))
    RETURNING ${job}
  ), notified AS (
    INSERT INTO ${t.notificationLog}
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber", "createdAt",
        "availableAt")
    SELECT ${NEW_ID}, e."jobId", 'failure', u."email", e."runNumber", ${NOW}, ${NOW}
    FROM exhausted e JOIN ${t.users} u ON u."userId" = e."userId"
  ), claimed AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'processing',
      "startedAt" = ${NOW},
      "availableAt" = ${NOW} + make_interval(secs => $2::double precision / 1000),
      "runNumber" = "runNumber" + 1,
      "workerId" = $3::varchar,
      "attempts" = CASE WHEN "attempts" >= $4::integer THEN 1 ELSE "attempts" + 1 END
    WHERE "jobId" = ANY(ARRAY(SELECT "jobId" FROM chosen WHERE NOT "spent"))
    RETURNING ${job}
  )
  SELECT ${columns(JOB_COLUMNS, 'claimed')}, ${FOUND},
    "jobId" IN (SELECT "jobId" FROM chosen WHERE "suspect") AS "suspect"
  FROM claimed
  UNION ALL
  SELECT ${columns(JOB_COLUMNS, 'exhausted')}, ${FOUND}, false
  FROM exhausted`;

/**
 * Arrays: $1 jobId, $2 runNumber, $3 workerId; $4 lease in ms. The ids of those still held. It waits
 * for no lock: a row that is locked is being finished by its own worker, and counts as held.
 */
export const extendLeases = (t: Tables): Statement => sql`
  WITH held AS MATERIALIZED (
    SELECT j."jobId", j."runNumber", j."workerId"
    FROM ${arrays('uuid', 'integer', 'varchar')} AS i("jobId", "runNumber", "workerId")
    JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    WHERE j."runNumber" = i."runNumber" AND j."workerId" = i."workerId" AND j."status" = 'processing'
  ), locked AS MATERIALIZED (
    SELECT j."jobId"
    FROM held JOIN ${t.videoJobs} j ON j."jobId" = held."jobId"
    WHERE j."runNumber" = held."runNumber" AND j."workerId" = held."workerId"
      AND j."status" = 'processing'
    FOR NO KEY UPDATE OF j SKIP LOCKED
  ), extended AS (
    UPDATE ${t.videoJobs}
    SET "availableAt" = ${NOW} + make_interval(secs => $4::double precision / 1000)
    WHERE "jobId" = ANY(ARRAY(SELECT "jobId" FROM locked))
  )
  SELECT "jobId" FROM held`;

/** No parameter: how many jobs are due, and for how long the one that waits longest has been. */
export const jobQueueState = (t: Tables): Statement => sql`
  SELECT count(*)::integer AS "depth",
    COALESCE(EXTRACT(EPOCH FROM statement_timestamp() - min("availableAt")) * 1000, 0)::float8 AS "ageMs"
  FROM ${t.videoJobs}
  WHERE ${CLAIMABLE}`;
