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

/** How many deliveries of a notification there have been since it was logged, or delivered again. */
const TRIES = `"deliveryNumber" % ${ROUND}`;

/** Why a notification has no try left, unless a delivery of it has said so. */
const LOST_DELIVERY = `COALESCE("errorMessage",
        format('Gave up after %s attempts: the last delivery was lost.', ${TRIES}))`;

/**
 * $1 jobId, $2 notificationType, $3 recipientEmail or null for the user's. One row unless the job
 * does not exist: its status, whether that is what the notification tells, and the notification if
 * it was inserted. A row of this run is there already when nothing was: it is read afterwards, in a
 * statement that sees what others committed meanwhile.
 *
 * If the row that is there tells the opposite, it reports the run before, and a service without runs
 * has worked since: that run gets a number of its own.
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

/** See {@link page}: filters jobId, userId and deliveryStatus, newest first. */
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

/** A column of a notification that a claim takes, for its delivery, or for its end where no try is left. */
const set = (column: string, delivery: string, end = `"${column}"`): string =>
  `"${column}" = CASE WHEN ${TRIES} < $3::integer THEN ${delivery} ELSE ${end} END`;

/**
 * $1 limit, $2 lease in ms, $3 maxAttempts, $4 the time from which they are due, $5 how many to look
 * at. Like a step of a claim of jobs: those that have no try left end here as failed, the first row is
 * about the claim, and then come the claimed notifications, as they waited. A delivery that was neither
 * sent nor failed when its lease ended is counted as a retry here.
 *
 * @param jobColumns - of the notifications' jobs, which come as `job.` and the name
 */
const claim = (t: Tables, jobColumns: readonly string[]): Statement => sql`
  WITH found AS MATERIALIZED (
    SELECT "notificationId", "availableAt", ${TRIES} >= $3::integer AS "spent"
    FROM ${t.notificationLog}
    WHERE "deliveryStatus" = 'pending'
      AND "availableAt" <= statement_timestamp()
      AND "availableAt" >= $4::timestamptz
    ORDER BY "availableAt"
    LIMIT $5::integer
    FOR NO KEY UPDATE SKIP LOCKED
  ), taken AS MATERIALIZED (
    SELECT * FROM found WHERE "spent"
    UNION ALL
    (SELECT * FROM found WHERE NOT "spent" ORDER BY "availableAt" LIMIT $1::integer)
  ), moved AS (
    UPDATE ${t.notificationLog} n
    SET ${[
      set('deliveryStatus', '"deliveryStatus"', `'failed'`),
      set('deliveryNumber', '"deliveryNumber" + 1'),
      set('retryCount', `GREATEST("retryCount", ${TRIES})`),
      set('availableAt', `${NOW} + make_interval(secs => $2::double precision / 1000)`),
      set('errorMessage', '"errorMessage"', LOST_DELIVERY),
    ].join(',\n      ')}
    WHERE "notificationId" = ANY(ARRAY(SELECT "notificationId" FROM taken))
    RETURNING ${notification}
  )
  SELECT (SELECT count(*)::integer FROM found) AS "found",
    (SELECT count(*)::integer FROM taken WHERE "spent") AS "failed",
    (SELECT max("availableAt") FROM taken) AS "lastDue", ${NOW} AS "startedAt",
    ${NOTIFICATION_COLUMNS.map((name) => `NULL AS "${name}"`).join(', ')}
    ${jobColumns.map((name) => `, NULL AS "job.${name}"`).join('')}
  UNION ALL
  SELECT * FROM (
    SELECT NULL::integer, NULL::integer, NULL::timestamptz, NULL::timestamptz,
      ${columns(NOTIFICATION_COLUMNS, 'm')}${jobColumns.map((name) => `, j."${name}"`).join('')}
    FROM taken FULL JOIN moved m ON m."notificationId" = taken."notificationId"
    ${jobColumns.length === 0 ? '' : jobOf(t, jobColumns)}
    WHERE taken."spent" IS NOT TRUE
    ORDER BY taken."availableAt", m."notificationId"
  ) AS claimed`;

/** The job of each notification, by its key: OFFSET keeps the planner from joining the whole table. */
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
 * $1 notificationId, $2 deliveryNumber, $3 the next status, $4 errorMessage, $5 ms until a pending
 * one is available. One row unless the notification does not exist: its state before, and the
 * notification if the caller held it.
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

/** What makes a failed notification due again, with all of its tries and a delivery number of a new round. */
const REDELIVERED = `"deliveryStatus" = 'pending',
      "errorMessage" = NULL,
      "retryCount" = 0,
      "deliveryNumber" = (n."deliveryNumber" / ${ROUND} + 1) * ${ROUND},
      "availableAt" = ${NOW}`;

/**
 * $1 notificationId. One row unless the notification does not exist: its state before, and the notification
 * if it is to be delivered again. It holds the job as well, which is else removed with all of its
 * notifications once they have come to their end.
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
 * Makes the notifications in `locked` due again, as `redeliver` does; not those whose jobs are just being
 * removed. No parameter.
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

/** No parameter: how many deliveries are due, and for how long the one that waits longest has been. */
export const deliveryQueueState = (t: Tables): Statement => sql`
  SELECT count(*)::integer AS "depth",
    COALESCE(EXTRACT(EPOCH FROM statement_timestamp() - min("availableAt")) * 1000, 0)::bigint AS "ageMs"
  FROM ${t.notificationLog}
  WHERE "deliveryStatus" = 'pending' AND "availableAt" <= statement_timestamp()`;
