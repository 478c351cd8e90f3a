import { arrays, columns, NEW_ID, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import { IS_LEASED, IS_PENDING } from '../schema/queue.indexes.js';
import type { Tables } from '../schema/tables.js';
import { job, JOB_COLUMNS } from './job.columns.js';

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

/** The rows of one partial index that may be claimed, locked. */
const foundIn = (t: Tables, name: string, condition: string): string => `${name} AS MATERIALIZED (
    SELECT "jobId", "status", "runNumber", "workerId", "availableAt",
      "attempts" >= $4::integer AS "spent", ${SUSPECT} AS "suspect"
    FROM ${t.videoJobs}
    WHERE ${condition}
      AND "availableAt" <= statement_timestamp()
      AND "availableAt" >= GREATEST($5::timestamptz,
        statement_timestamp() - make_interval(secs => $7::double precision / 1000))
      AND ($6::boolean IS NOT FALSE OR NOT ${SUSPECT})
    ORDER BY "availableAt"
    LIMIT $1::integer
    FOR NO KEY UPDATE SKIP LOCKED
  )`;

/**
 * $1 limit, $2 lease in ms, $3 workerId, $4 maxAttempts, $5 the time from which jobs are due. The
 * claimed jobs, and those that had no try left: these fail here, with their notification.
 * `= ANY(ARRAY(...))` stays on the primary key where `UPDATE ... FROM` falls back to a sequential
 * scan. Plain `FOR UPDATE` would also skip jobs for which a notification is being inserted.
 *
 * $6 says how many suspects it may claim: true, one; false, none; null, any number. With $7, in ms, it
 * claims only jobs whose leases have ended within that time.
 */
export const claimJobs = (t: Tables): Statement => sql`
  WITH ${foundIn(t, 'lost', IS_LEASED)},
  ${foundIn(t, 'pending', `${IS_PENDING} AND $7::double precision IS NULL`)},
  found AS MATERIALIZED (
    SELECT * FROM lost UNION ALL SELECT * FROM pending ORDER BY "availableAt" LIMIT $1::integer
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
    ON CONFLICT ("jobId", "runNumber") DO NOTHING
  ), claimed AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'processing',
      "startedAt" = ${NOW},
      "availableAt" = ${NOW} + make_interval(secs => $2::double precision / 1000),
      "runNumber" = "runNumber" + 1,
      "workerId" = $3::varchar,
      "attempts" = "attempts" + 1
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
 * for no lock: a row that is locked is being finished by its own worker, and counts as held. The fence
 * stands in a CASE: as plain conditions it makes the planner read an index of the status.
 */
export const extendLeases = (t: Tables): Statement => sql`
  WITH held AS MATERIALIZED (
    SELECT j."jobId", j."runNumber", j."workerId"
    FROM ${arrays('uuid', 'integer', 'varchar')} AS i("jobId", "runNumber", "workerId")
    JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    WHERE CASE WHEN j."status" = 'processing'
      THEN j."runNumber" = i."runNumber" AND j."workerId" = i."workerId" END
  ), locked AS MATERIALIZED (
    SELECT j."jobId"
    FROM held JOIN ${t.videoJobs} j ON j."jobId" = held."jobId"
    WHERE CASE WHEN j."status" = 'processing'
      THEN j."runNumber" = held."runNumber" AND j."workerId" = held."workerId" END
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
  WHERE ((${IS_PENDING}) OR (${IS_LEASED})) AND "availableAt" <= statement_timestamp()`;
