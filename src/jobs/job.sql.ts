import { arrays, columns, NEW_ID, NOW, page, sql } from '../connection/statement.js';
import type { Statement } from '../connection/statement.js';
import type { Tables } from '../schema/tables.js';
import { NOTIFICATION_COLUMNS } from '../notifications/notification.sql.js';

/** The columns of `video_jobs`, in the order of the table. */
export const JOB_COLUMNS = [
  'jobId',
  'userId',
  'filename',
  'status',
  'videoUrl',
  'resultUrl',
  'frameCount',
  'errorMessage',
  'createdAt',
  'startedAt',
  'completedAt',
  'availableAt',
  'runNumber',
  'workerId',
  'attempts',
] as const;

const job = columns(JOB_COLUMNS, 'j');

/** The columns of `job_attempt_errors`, in the order of the table. */
export const ATTEMPT_ERROR_COLUMNS = [
  'jobId',
  'runNumber',
  'workerId',
  'errorMessage',
  'createdAt',
] as const;

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
 * $1 jobId, $2 userId, $3 filename, $4 videoUrl, $5 availableAt. No row: the user is unknown, or the
 * job exists. Selecting from `users` under a lock refuses an unknown user without the foreign key's
 * error, which would abort the caller's transaction.
 */
export const createJob = (t: Tables): Statement => sql`
  INSERT INTO ${t.videoJobs} AS j
    ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt")
  SELECT $1::uuid, u."userId", $3::varchar, $4::text, ${NOW}, GREATEST($5::timestamptz, ${NOW})
  FROM ${t.users} u
  WHERE u."userId" = $2::uuid
  FOR KEY SHARE OF u
  ON CONFLICT ("jobId") DO NOTHING
  RETURNING ${job}`;

/**
 * The same, as arrays, for jobs that have nothing to do with each other: no row for those whose user
 * is unknown, or is locked by somebody who changes or deletes it.
 */
export const createJobsTogether = (t: Tables): Statement => sql`
  INSERT INTO ${t.videoJobs} AS j
    ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt")
  SELECT i."jobId", u."userId", i."filename", i."videoUrl", ${NOW},
    GREATEST(i."availableAt", ${NOW})
  FROM ${arrays('uuid', 'uuid', 'varchar', 'text', 'timestamptz')}
    AS i("jobId", "userId", "filename", "videoUrl", "availableAt")
  JOIN ${t.users} u ON u."userId" = i."userId"
  FOR KEY SHARE OF u SKIP LOCKED
  RETURNING ${job}`;

/**
 * $1 the users' ids, each once; then arrays: $2 jobId, $3 userId, $4 filename, $5 videoUrl,
 * $6 availableAt. Inserts nothing when a user is unknown.
 */
const insertAll = (t: Tables, order: string, after: string): string => `
  INSERT INTO ${t.videoJobs} AS j
    ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt")
  SELECT i."jobId", i."userId", i."filename", i."videoUrl", ${NOW},
    GREATEST(i."availableAt", ${NOW})
  FROM unnest($2::uuid[], $3::uuid[], $4::varchar[], $5::text[], $6::timestamptz[])
    AS i("jobId", "userId", "filename", "videoUrl", "availableAt")
  WHERE (SELECT count(*) FROM owner) = cardinality($1::uuid[])
  ORDER BY ${order}
  ${after}`;

const lockOwners = (t: Tables): string => `owner AS MATERIALIZED (
    SELECT u."userId"
    FROM ${t.users} u
    WHERE u."userId" = ANY($1::uuid[])
    ORDER BY u."userId"
    FOR KEY SHARE OF u
  )`;

/**
 * With ids that are new. By user, because half of the indexes are: neighbours share their pages. How many
 * were created, and when: the rest of the rows is known, and to return it would take a tenth of the time.
 */
export const createNewJobs = (t: Tables): Statement => sql`
  WITH ${lockOwners(t)}, created AS (${insertAll(t, 'i."userId"', 'RETURNING 1')})
  SELECT count(*)::integer AS "count", ${NOW} AS "createdAt" FROM created`;

/**
 * The created jobs. In `jobId` order, so that two calls which repeat the same jobs wait for each other and
 * never deadlock.
 */
export const createJobs = (t: Tables): Statement => sql`
  WITH ${lockOwners(t)}
  ${insertAll(t, 'i."jobId"', `ON CONFLICT ("jobId") DO NOTHING RETURNING ${job}`)}`;

/** $1 userIds: those of them that do not exist. */
export const unknownUsers = (t: Tables): Statement => sql`
  SELECT i."userId"
  FROM unnest($1::uuid[]) AS i("userId")
  WHERE NOT EXISTS (SELECT FROM ${t.users} u WHERE u."userId" = i."userId")`;

/** $1 jobIds. */
export const getJobs = (t: Tables): Statement => sql`
  SELECT ${job} FROM ${t.videoJobs} j WHERE j."jobId" = ANY($1::uuid[])`;

/** $1 jobId, $2 userId or null for any. */
export const getJob = (t: Tables): Statement => sql`
  SELECT ${job}
  FROM ${t.videoJobs} j
  WHERE j."jobId" = $1::uuid AND ($2::uuid IS NULL OR j."userId" = $2::uuid)`;

/** See {@link page}: filters userId and status, newest first. */
export const listJobs =
  (filters: { userId: boolean; status: boolean }, after: boolean) =>
  (t: Tables): Statement =>
    page(
      `SELECT ${job} FROM ${t.videoJobs} j`,
      { 'j."userId"': filters.userId && 'uuid', 'j."status"': filters.status && 'varchar' },
      'j."jobId"',
      after,
    );

/** No parameter. */
export const countJobs = (t: Tables): Statement => sql`
  SELECT j."status", count(*)::integer AS "count" FROM ${t.videoJobs} j GROUP BY j."status"`;

/** $1 userId. */
export const countJobsOfUser = (t: Tables): Statement => sql`
  SELECT j."status", count(*)::integer AS "count"
  FROM ${t.videoJobs} j
  WHERE j."userId" = $1::uuid
  GROUP BY j."status"`;

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

/**
 * Every move out of `processing`. $1 jobId, $2 runNumber, $3 workerId, $4 the next status,
 * $5 resultUrl, $6 frameCount, $7 errorMessage, $8 ms until a pending job is available, $9 the
 * attempts given back.
 *
 * One row for each job that exists, by its "position" in the input: its state before, and, if the
 * caller held it, the job and its notification after. The row is locked first, so that the verdict
 * and the update see the same version of it whatever else runs. The run's notification is in the
 * same statement: neither exists without the other.
 *
 * A run that a service without runs started after a retry has the number of the run before, which is
 * reported already: it gets the next number when it ends.
 *
 * @param input - the parameters as a relation
 * @param locking - what to do about a row that is locked: wait, or pass over it
 * @param result - whether to return the job and the notification after, or the verdict alone
 */
const settle = (
  t: Tables,
  input: string,
  locking: '' | 'SKIP LOCKED' = '',
  result: 'whole' | 'verdict' = 'whole',
): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT i."position", i."next", i."resultUrl", i."frameCount", i."errorMessage",
      i."delay", i."refund", i."workerId", j."jobId", j."status", j."runNumber",
      j."runNumber" + CASE
        WHEN j."workerId" IS NULL AND i."next" <> 'pending' AND EXISTS (
          SELECT FROM ${t.notificationLog} n
          WHERE n."jobId" = j."jobId" AND n."runNumber" = j."runNumber") THEN 1
        ELSE 0 END AS "runNumberAfter",
      j."status" = 'processing' AND j."runNumber" = i."runNumber"
        AND j."workerId" IS NOT DISTINCT FROM i."workerId" AS "accepted",
      j."runNumber" <> i."runNumber" OR j."workerId" IS DISTINCT FROM i."workerId" AS "lost"
    FROM ${input}
      AS i("jobId", "runNumber", "workerId", "next", "resultUrl",
        "frameCount", "errorMessage", "delay", "refund", "position")
    JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    ORDER BY j."jobId"
    FOR NO KEY UPDATE OF j ${locking}
  ), settled AS (
    UPDATE ${t.videoJobs} j
    SET "status" = l."next",
      "resultUrl" = l."resultUrl",
      "frameCount" = l."frameCount",
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
    WHERE j."jobId" = l."jobId" AND l."accepted"
    RETURNING ${job}
  ), notified AS (
    INSERT INTO ${t.notificationLog} AS n
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber", "createdAt",
        "availableAt")
    SELECT ${NEW_ID}, s."jobId", CASE s."status" WHEN 'completed' THEN 'success' ELSE 'failure' END,
      u."email", s."runNumber", ${NOW}, ${NOW}
    FROM settled s JOIN ${t.users} u ON u."userId" = s."userId"
    WHERE s."status" <> 'pending'
    RETURNING ${columns(NOTIFICATION_COLUMNS, 'n')}
  ), noted AS (
    INSERT INTO ${t.jobAttemptErrors} ("jobId", "runNumber", "workerId", "errorMessage", "createdAt")
    SELECT l."jobId", l."runNumberAfter", l."workerId", l."errorMessage", ${NOW}
    FROM locked l
    WHERE l."accepted" AND l."errorMessage" IS NOT NULL
    ON CONFLICT DO NOTHING
  )
  SELECT l."position"::integer, l."jobId", l."accepted", l."lost", l."status" AS "statusBefore",
    l."runNumber" AS "runNumberBefore"${
      result === 'verdict'
        ? ''
        : `,
    ${columns(JOB_COLUMNS, 's', 'job.')},
    ${columns(NOTIFICATION_COLUMNS, 'n', 'notification.')}`
    }
  FROM locked l
  ${
    result === 'verdict'
      ? ''
      : `LEFT JOIN settled s ON s."jobId" = l."jobId"
  LEFT JOIN notified n ON n."jobId" = l."jobId"`
  }`;

/** One job. */
export const settleJob = (t: Tables): Statement =>
  settle(
    t,
    `(VALUES ($1::uuid, $2::integer, $3::varchar, $4::varchar, $5::text,
        $6::integer, $7::text, $8::integer, $9::integer, 1))`,
  );

const SETTLEMENT = [
  'uuid',
  'integer',
  'varchar',
  'varchar',
  'text',
  'integer',
  'text',
  'integer',
  'integer',
] as const;

/** Any number of jobs, as arrays with an entry for each. Planned for the number that they are. */
export const settleJobs = (t: Tables): Statement => {
  const parameters = SETTLEMENT.map((type, index) => `$${index + 1}::${type}[]`);
  return settle(t, `unnest(${parameters.join(', ')}) WITH ORDINALITY`);
};

/** Some jobs that have nothing to do with each other: no row also for those that are locked. */
export const settleJobsTogether = (t: Tables): Statement =>
  settle(t, `${arrays(...SETTLEMENT)} WITH ORDINALITY`, 'SKIP LOCKED');

/** The same, any number of them. */
export const settleJobsBriefly = (t: Tables): Statement =>
  settle(t, `${arrays(...SETTLEMENT)} WITH ORDINALITY`, 'SKIP LOCKED', 'verdict');

/** $1 jobId. One row unless the job does not exist: its state before, and the job if it was moved. */
export const retryJob = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT "jobId", "status", "runNumber"
    FROM ${t.videoJobs}
    WHERE "jobId" = $1::uuid
    FOR NO KEY UPDATE
  ), retried AS (
    UPDATE ${t.videoJobs} j
    SET "status" = 'pending',
      "startedAt" = NULL,
      "completedAt" = NULL,
      "errorMessage" = NULL,
      "workerId" = NULL,
      "attempts" = 0,
      "availableAt" = ${NOW}
    FROM locked
    WHERE j."jobId" = $1::uuid AND locked."status" = 'failed'
    RETURNING ${job}
  )
  SELECT locked."status" AS "statusBefore", locked."runNumber" AS "runNumberBefore",
    ${columns(JOB_COLUMNS, 'retried', 'job.')}
  FROM locked LEFT JOIN retried ON true`;

/** $1 jobId. */
export const listAttemptErrors = (t: Tables): Statement => sql`
  SELECT ${columns(ATTEMPT_ERROR_COLUMNS, 'e')}
  FROM ${t.jobAttemptErrors} e
  WHERE e."jobId" = $1::uuid
  ORDER BY e."runNumber"`;

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

/** No parameter: how many jobs are due, and for how long the one that waits longest has been. */
export const jobQueueState = (t: Tables): Statement => sql`
  SELECT count(*)::integer AS "depth",
    COALESCE(EXTRACT(EPOCH FROM statement_timestamp() - min("availableAt")) * 1000, 0)::float8 AS "ageMs"
  FROM ${t.videoJobs}
  WHERE ${CLAIMABLE}`;
