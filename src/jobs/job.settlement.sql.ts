import { arrays, columns, NEW_ID, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import { NOTIFICATION_COLUMNS } from '../notifications/notification.sql.js';
import type { Tables } from '../schema/tables.js';
import { job, JOB_COLUMNS } from './job.columns.js';

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

/**
 * $1 jobId, $2 userId or null for any. One row unless the job does not exist: its state before, and the
 * job if it was moved.
 */
export const retryJob = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT "jobId", "status", "runNumber"
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
    ${columns(JOB_COLUMNS, 'retried', 'job.')}
  FROM locked LEFT JOIN retried ON true`;
