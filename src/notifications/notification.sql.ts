import { IS_UNDELIVERED } from '../schema/queue.indexes.js';
import { aboutFound, lockFirst } from '../sql/claim.sql.js';
import { columns, NEW_ID, NOW, page, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { ROUND } from './delivery.round.js';

/** The columns of `notification_log`, in the order of the table. */
export const NOTIFICATION_COLUMNS = [
  'notificationId',
  'jobId',
  'notificationType',
  'recipientEmail',
  'deliveryStatus',
  'retryCount',
  'errorMessage',
  'createdAt',
  'sentAt',
  'availableAt',
  'deliveryNumber',
  'runNumber',
] as const;

const notification = columns(NOTIFICATION_COLUMNS, 'n');

/** How many deliveries of a notification began since it was logged, or since `redeliver` was called. */
const TRIES = `"deliveryNumber" % ${ROUND}`;

/** The error message of a notification that has no try left, if no delivery has given one. */
const LOST_DELIVERY = `COALESCE("errorMessage",
        format('Gave up after %s attempts: the last delivery was lost.', ${TRIES}))`;

/**
 * $1 jobId, $2 notificationType, $3 recipientEmail, or null for the user's address.
 *
 * Returns no row if the job does not exist. Otherwise it returns one row: the status of the job, whether the
 * status matches the type, and the notification if it was inserted. If it was not inserted, the run has a
 * notification already. The next statement reads that notification, because it sees what others have committed
 * meanwhile.
 *
 * The existing notification may have the opposite type. Then it reports the run before, and a service of an
 * older version has started another run without a new number. That run gets the next number here.
 */
export const logNotification = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT "jobId", "userId", "status", "runNumber",
      "status" = CASE $2::varchar WHEN 'success' THEN 'completed' ELSE 'failed' END AS "matches"
    FROM ${t.videoJobs}
    WHERE "jobId" = $1::uuid
    FOR NO KEY UPDATE
  ), renumbered AS (
    UPDATE ${t.videoJobs} j
    SET "runNumber" = j."runNumber" + 1
    FROM locked
    WHERE j."jobId" = $1::uuid AND locked."matches" AND EXISTS (
      SELECT FROM ${t.notificationLog} n
      WHERE n."jobId" = j."jobId" AND n."runNumber" = j."runNumber"
        AND n."notificationType" <> $2::varchar)
    RETURNING j."runNumber"
  ), inserted AS (
    INSERT INTO ${t.notificationLog} AS n
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber", "createdAt",
        "availableAt")
    SELECT ${NEW_ID}, l."jobId", $2::varchar, COALESCE($3::varchar, u."email"),
      COALESCE((SELECT "runNumber" FROM renumbered), l."runNumber"), ${NOW}, ${NOW}
    FROM locked l JOIN ${t.users} u ON u."userId" = l."userId"
    WHERE l."matches"
    ON CONFLICT ("jobId", "runNumber") DO NOTHING
    RETURNING ${notification}
  )
  SELECT l."status" AS "jobStatus", l."runNumber" AS "jobRunNumber", l."matches",
    ${columns(NOTIFICATION_COLUMNS, 'n', 'notification.')}
  FROM locked l LEFT JOIN inserted n ON true`;

/** $1 jobId, $2 runNumber. */
export const notificationOfRun = (t: Tables): Statement => sql`
  SELECT ${notification}
  FROM ${t.notificationLog} n
  WHERE n."jobId" = $1::uuid AND n."runNumber" = $2::integer`;

/** Filters by jobId, userId and deliveryStatus, newest first. For the parameters see {@link page}. */
export const listNotifications =
  (filters: { jobId: boolean; userId: boolean; deliveryStatus: boolean }, after: boolean) =>
  (t: Tables): Statement =>
    page(
      `SELECT ${notification} FROM ${t.notificationLog} n` +
        (filters.userId ? ` JOIN ${t.videoJobs} j ON j."jobId" = n."jobId"` : ''),
      {
        'n."jobId"': filters.jobId && 'uuid',
        'j."userId"': filters.userId && 'uuid',
        'n."deliveryStatus"': filters.deliveryStatus && 'varchar',
      },
      'n."notificationId"',
      after,
    );

/**
 * $1 limit, $2 lease in ms, $3 maxAttempts, $4 only notifications due since this time, $5 how many to look at.
 * It works like one step of a claim of jobs: `failSpent` fails what it leaves out. The first row is about the
 * claim. Then come the claimed notifications, in any order. If the lease of a delivery ended without an outcome,
 * the delivery is counted as a retry here.
 *
 * @param jobColumns - columns of the notifications' jobs to return; their names get the prefix `job.`
 */
const claim = (t: Tables, jobColumns: readonly string[]): Statement => sql`
  WITH found AS MATERIALIZED (${lockFirst(
    `SELECT "notificationId", "availableAt", ${TRIES} >= $3::integer AS "spent"
      FROM ${t.notificationLog}
      WHERE ${IS_UNDELIVERED}
        AND "availableAt" <= statement_timestamp()
        AND "availableAt" >= (SELECT $4::timestamptz)
      ORDER BY "availableAt"`,
    '(SELECT $5::integer)',
  )}
  ), moved AS (
    UPDATE ${t.notificationLog} n
    SET "deliveryNumber" = "deliveryNumber" + 1,
      "retryCount" = GREATEST("retryCount", ${TRIES}),
      "availableAt" = ${NOW} + make_interval(secs => $2::double precision / 1000)
    WHERE "notificationId" = ANY(ARRAY(
      SELECT "notificationId" FROM found WHERE NOT "spent" LIMIT $1::integer))
    RETURNING ${notification}
  )
  SELECT ${NOW} AS "startedAt", ${aboutFound('"notificationId"')},
    ${NOTIFICATION_COLUMNS.map((name) => `NULL AS "${name}"`).join(', ')}
    ${jobColumns.map((name) => `, NULL AS "job.${name}"`).join('')}
  FROM found
  UNION ALL
  SELECT NULL, NULL, NULL, NULL,
    ${columns(NOTIFICATION_COLUMNS, 'm')}${jobColumns.map((name) => `, j."${name}"`).join('')}
  FROM moved m ${jobColumns.length === 0 ? '' : jobOf(t, jobColumns)}`;

/**
 * $1 notificationIds, $2 maxAttempts. Fails due notifications that have no try left. It passes over locked ones,
 * and over those that have changed. Returns how many it failed.
 */
export const failSpent = (t: Tables): Statement => sql`
  WITH found AS MATERIALIZED (
    SELECT "notificationId"
    FROM ${t.notificationLog}
    WHERE "notificationId" = ANY((SELECT $1::uuid[])::uuid[]) AND ${TRIES} >= $2::integer
      AND CASE WHEN "deliveryStatus" = 'pending' THEN "availableAt" <= statement_timestamp() END
    FOR NO KEY UPDATE SKIP LOCKED
  ), failed AS (
    UPDATE ${t.notificationLog}
    SET "deliveryStatus" = 'failed',
      "errorMessage" = ${LOST_DELIVERY}
    WHERE "notificationId" = ANY(ARRAY(SELECT "notificationId" FROM found))
    RETURNING 1
  )
  SELECT count(*)::integer AS "count" FROM failed`;

/** Reads the job of each notification by its key. The OFFSET keeps the planner from joining the whole table. */
const jobOf = (t: Tables, jobColumns: readonly string[]): string => `
    LEFT JOIN LATERAL (
      SELECT ${columns(jobColumns, 'j')} FROM ${t.videoJobs} j WHERE j."jobId" = m."jobId" OFFSET 0
    ) AS j ON true`;

export const claimNotifications = (t: Tables): Statement => claim(t, []);

/** Claims notifications, and reads some columns of their jobs. */
export const claimWithJobs =
  (jobColumns: readonly string[]) =>
  (t: Tables): Statement =>
    claim(t, jobColumns);

/**
 * $1 notificationId, $2 deliveryNumber, $3 the next status, $4 errorMessage, $5 ms until a pending notification
 * is due. Returns no row if the notification does not exist. Otherwise it returns one row: the state before, and
 * the notification if the caller held it.
 */
export const settleNotification = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT "notificationId", "deliveryStatus", "deliveryNumber"
    FROM ${t.notificationLog}
    WHERE "notificationId" = $1::uuid
    FOR NO KEY UPDATE
  ), settled AS (
    UPDATE ${t.notificationLog} n
    SET "deliveryStatus" = $3::varchar,
      "errorMessage" = $4::text,
      "sentAt" = CASE $3::varchar WHEN 'sent' THEN ${NOW} END,
      "retryCount" = CASE $3::varchar
        WHEN 'pending' THEN GREATEST(n."retryCount", n.${TRIES})
        ELSE n."retryCount" END,
      "availableAt" = CASE $3::varchar
        WHEN 'pending' THEN ${NOW} + make_interval(secs => $5::double precision / 1000)
        ELSE n."availableAt" END
    FROM locked l
    WHERE n."notificationId" = $1::uuid
      AND l."deliveryStatus" = 'pending' AND l."deliveryNumber" = $2::integer
    RETURNING ${notification}
  )
  SELECT l."deliveryStatus" AS "statusBefore", l."deliveryNumber" AS "deliveryNumberBefore",
    ${columns(NOTIFICATION_COLUMNS, 'n', 'notification.')}
  FROM locked l LEFT JOIN settled n ON true`;

/** The values that make a failed notification due again, with all of its tries and a delivery number of a new round. */
const REDELIVERED = `"deliveryStatus" = 'pending',
      "errorMessage" = NULL,
      "retryCount" = 0,
      "deliveryNumber" = (n."deliveryNumber" / ${ROUND} + 1) * ${ROUND},
      "availableAt" = ${NOW}`;

/**
 * $1 notificationId. Returns no row if the notification does not exist. Otherwise it returns one row: the state
 * before, and the notification if it is due again. It also locks the job. Otherwise `pruneJobs` could remove the
 * job and its notifications at this moment.
 */
export const redeliver = (t: Tables): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT n."deliveryStatus", n."deliveryNumber"
    FROM ${t.notificationLog} n JOIN ${t.videoJobs} j ON j."jobId" = n."jobId"
    WHERE n."notificationId" = $1::uuid
    FOR KEY SHARE OF j FOR NO KEY UPDATE OF n
  ), redelivered AS (
    UPDATE ${t.notificationLog} n
    SET ${REDELIVERED}
    FROM locked l
    WHERE n."notificationId" = $1::uuid AND l."deliveryStatus" = 'failed'
    RETURNING ${notification}
  )
  SELECT l."deliveryStatus" AS "statusBefore", l."deliveryNumber" AS "deliveryNumberBefore",
    ${columns(NOTIFICATION_COLUMNS, 'n', 'notification.')}
  FROM locked l LEFT JOIN redelivered n ON true`;

/**
 * CTEs that make the notifications in `locked` due again, as `redeliver` does. They leave out notifications whose
 * jobs are being removed at this moment. They have no parameter.
 */
export const redeliverLocked = (t: Tables): string => `kept AS MATERIALIZED (
    SELECT n."notificationId"
    FROM ${t.notificationLog} n JOIN ${t.videoJobs} j ON j."jobId" = n."jobId"
    WHERE n."notificationId" = ANY(ARRAY(SELECT "notificationId" FROM locked))
    FOR KEY SHARE OF j SKIP LOCKED
  ), changed AS (
    UPDATE ${t.notificationLog} n
    SET ${REDELIVERED}
    WHERE n."notificationId" = ANY(ARRAY(SELECT "notificationId" FROM kept))
    RETURNING n."notificationId"
  )`;

/** No parameter. Counts the due deliveries, and says how long the delivery that waits longest has been due. */
export const deliveryQueueState = (t: Tables): Statement => sql`
  SELECT count(*)::integer AS "depth",
    COALESCE(EXTRACT(EPOCH FROM statement_timestamp() - min(GREATEST("availableAt", 'epoch'))) * 1000, 0)::bigint AS "ageMs"
  FROM ${t.notificationLog}
  WHERE ${IS_UNDELIVERED} AND "availableAt" <= statement_timestamp()`;
