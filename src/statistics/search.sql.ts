import { columns, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { DeliveryStatus, JobStatus } from '../schema/entities/index.js';
import { IS_PENDING, IS_PENDING_OF_USER } from '../schema/queue.indexes.js';
import { EXACT, forEach } from './statistics.sql.js';

/** How many rows a search looks at. With the rows that a sort reads ahead, there are not more than 20,000. */
export const LOOKED_AT = 19_950;

/**
 * Changes the settings of the transaction, so that its further statements read in the order of an index, up to a
 * limit. Without it the planner expects fewer rows than there are, and would read and sort all of them.
 *
 * $1 whether rows of one time may be sorted by their ids after they were read. It must be off for a search of one
 * user's rows: with the index of the user alone, the planner would sort all rows of the user.
 */
export const readInOrder = (): Statement => sql`
  SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true),
    set_config('enable_incremental_sort', $1::text, true)`;

/** The columns of a found job. Parameters and output are left out, because they may be large. */
export const FOUND_JOB_COLUMNS = [
  'jobId',
  'userId',
  'filename',
  'status',
  'errorMessage',
  'createdAt',
  'startedAt',
  'completedAt',
  'availableAt',
  'runNumber',
  'workerId',
  'attempts',
  'progress',
  'cancelledAt',
] as const;

/** The columns for the page of one job. */
const LIFE_COLUMNS = [
  ...FOUND_JOB_COLUMNS,
  'videoUrl',
  'resultUrl',
  'frameCount',
  'progressMessage',
  'parameters',
  'output',
] as const;

/** The columns of a found notification. */
export const FOUND_NOTIFICATION_COLUMNS = [
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

export const NIL_ID = '00000000-0000-0000-0000-000000000000';

/**
 * A way through a table, in the order of an index. If the index has no id, rows of one time are read in any order
 * and sorted by their ids afterwards. To read them in the order of the ids, the search would have to read all rows
 * of that time, and there may be very many.
 */
interface Walk {
  /** The columns of the index. */
  readonly order: readonly string[];
  readonly direction: 'ASC' | 'DESC';
  readonly where: string;
  /** A condition for rows after the position, if the index alone does not tell. */
  readonly after?: string;
}

const ordered = ({ order, direction }: Walk, alias: string, ...more: string[]): string =>
  [...order, ...more].map((name) => `${alias}."${name}" ${direction}`).join(', ');

/**
 * $1 the time and $2 the id after which to go on, $3 the begin of the searched time, $4 the user. The comparisons of
 * rows use an index. See {@link readInOrder}.
 */
const JOB_WALKS = {
  newest: {
    order: ['createdAt'],
    direction: 'DESC',
    where: `"createdAt" <= $1::timestamptz AND "createdAt" >= $3::timestamptz
      AND $2::uuid IS NOT NULL AND $4::uuid IS NULL`,
    after: `(w."createdAt", w."jobId") < ($1::timestamptz, $2::uuid)`,
  },
  newestOfUser: {
    order: ['userId', 'createdAt', 'jobId'],
    direction: 'DESC',
    where: `("userId", "createdAt", "jobId") < ($4::uuid, $1::timestamptz, $2::uuid)
      AND ("userId", "createdAt") >= ($4::uuid, $3::timestamptz)`,
  },
  waiting: {
    order: ['availableAt'],
    direction: 'ASC',
    where: `${IS_PENDING} AND "availableAt" >= $1::timestamptz
      AND $2::uuid IS NOT NULL AND $3::timestamptz IS NOT NULL AND $4::uuid IS NULL`,
    after: `(w."availableAt", w."jobId") > ($1::timestamptz, $2::uuid)`,
  },
  waitingOfUser: {
    order: ['userId', 'availableAt'],
    direction: 'ASC',
    where: `${IS_PENDING_OF_USER} AND ("userId", "availableAt") >= ($4::uuid, $1::timestamptz)
      AND "userId" <= $4::uuid AND $2::uuid IS NOT NULL AND $3::timestamptz IS NOT NULL`,
    after: `(w."availableAt", w."jobId") > ($1::timestamptz, $2::uuid)`,
  },
} as const satisfies Record<string, Walk>;

export type JobWalk = keyof typeof JOB_WALKS;

const WALKS = Object.keys(JOB_WALKS) as JobWalk[];

/** The order of a page: jobs of one time are in the order of their ids. */
const byId = (walk: Walk, alias: string): string =>
  ordered(walk, alias, ...(walk.order.includes('jobId') ? [] : ['jobId']));

/** $5 how many jobs to find, $6 status or null, $7 a text in the file's name or the error, in lower case, or null. */
const found = (walk: Walk, rows: string, t: Tables, more = walk.after ?? 'true'): Statement => sql`
  SELECT ${columns(FOUND_JOB_COLUMNS, 'f')}, u."username", u."email"
  FROM (
    SELECT w.*
    FROM (${rows}) AS w
    WHERE ($6::varchar IS NULL OR w."status" = $6::varchar)
      AND ($7::text IS NULL OR strpos(lower(w."filename"), $7::text) > 0
        OR strpos(lower(w."errorMessage"), $7::text) > 0)
      AND ${more}
    ORDER BY ${byId(walk, 'w')}
    LIMIT $5::integer
  ) AS f
  LEFT JOIN ${t.users} u ON u."userId" = f."userId"
  ORDER BY ${byId(walk, 'f')}`;

/** Finds jobs that meet the other filters, among the first rows of a walk. */
export const searchJobs = forEach(WALKS, (name, t) => {
  const walk: Walk = JOB_WALKS[name];
  return found(
    walk,
    `SELECT ${columns(FOUND_JOB_COLUMNS, 'j')} FROM ${t.videoJobs} j
      WHERE ${walk.where}
      ORDER BY ${ordered(walk, 'j')}
      LIMIT ${String(LOOKED_AT)}`,
    t,
  );
});

/** Finds jobs of a rare status. It looks at all jobs of this status. */
export const searchJobsOfStatus = forEach(Object.values(JobStatus), (status, t) =>
  found(
    JOB_WALKS.newest,
    `SELECT ${columns(FOUND_JOB_COLUMNS, 'j')} FROM ${t.videoJobs} j
      WHERE j."status" >= '${status}' AND j."status" <= '${status}'
      ORDER BY j."status"
      LIMIT ${String(EXACT)}`,
    t,
    `(w."createdAt", w."jobId") < ($1::timestamptz, $2::uuid)
      AND w."createdAt" >= $3::timestamptz AND ($4::uuid IS NULL OR w."userId" = $4::uuid)`,
  ),
);

/**
 * Finds where a walk stopped because it had looked at its maximum of rows. Returns the times of the first and the
 * last row. Also returns the id of the last row, if rows are in the order of their ids.
 */
export const endOfJobs = forEach(WALKS, (name, t) => {
  const walk: Walk = JOB_WALKS[name];
  const time = walk.order.find((column) => column.endsWith('At')) ?? '';
  const row = (offset: number): string => `
    SELECT j."${time}" AS "at", j."jobId" FROM ${t.videoJobs} j
    WHERE ${walk.where}
    ORDER BY ${ordered(walk, 'j')}
    OFFSET ${String(offset)} LIMIT 1`;
  return sql`
  SELECT first."at" AS "begin", last."at" AS "end",
    ${walk.order.includes('jobId') ? 'last."jobId"' : 'NULL::uuid'} AS "id"
  FROM (${row(0)}) AS first, (${row(LOOKED_AT - 1)}) AS last`;
});

/** Finds a user. $1 a name or an e-mail address. */
export const findUser = (t: Tables): Statement => sql`
  SELECT "userId", "username", "email" FROM ${t.users} WHERE "username" = $1::varchar
  UNION ALL
  SELECT "userId", "username", "email" FROM ${t.users} WHERE "email" = $1::varchar
  LIMIT 1`;

/**
 * $1 createdAt and $2 notificationId after which to go on, $3 and $4 the begin and the end of the searched time,
 * $5 how many notifications to find, $6 deliveryStatus or null, $7 a text in the recipient's address or the error,
 * in lower case, or null.
 */
const foundNotifications = (rows: string, order: string, t: Tables, more = ''): Statement => sql`
  SELECT ${columns(FOUND_NOTIFICATION_COLUMNS, 'f')}, j."filename"
  FROM (
    SELECT w.*
    FROM (${rows}) AS w
    WHERE ($6::varchar IS NULL OR w."deliveryStatus" = $6::varchar)
      AND w."createdAt" >= $3::timestamptz AND w."createdAt" < $4::timestamptz
      AND ($7::text IS NULL OR strpos(lower(w."recipientEmail"), $7::text) > 0
        OR strpos(lower(w."errorMessage"), $7::text) > 0)${more}
    ORDER BY ${order.replaceAll('f.', 'w.')}
    LIMIT $5::integer
  ) AS f
  LEFT JOIN ${t.videoJobs} j ON j."jobId" = f."jobId"
  ORDER BY ${order}`;

const notification = columns(FOUND_NOTIFICATION_COLUMNS, 'n');

const BEFORE = `
      AND (w."createdAt", w."notificationId") < ($1::timestamptz, $2::uuid)`;

/** Finds notifications by their ids, newest first. The ids are in the order of time, and no index has the time. */
export const searchNotifications = (t: Tables): Statement =>
  foundNotifications(
    `SELECT ${notification} FROM ${t.notificationLog} n
      WHERE n."notificationId" < $2::uuid AND $1::timestamptz IS NOT NULL
      ORDER BY n."notificationId" DESC
      LIMIT ${String(LOOKED_AT)}`,
    'f."notificationId" DESC',
    t,
  );

/** Finds notifications with random ids, in the order of time. $8 the id from which to look downwards, $9 the last id. */
export const searchOlderNotifications = (t: Tables): Statement =>
  foundNotifications(
    `SELECT ${notification} FROM ${t.notificationLog} n
      WHERE n."notificationId" <= $8::uuid AND n."notificationId" >= $9::uuid
      ORDER BY n."notificationId" DESC
      LIMIT ${String(LOOKED_AT)}`,
    'f."createdAt" DESC, f."notificationId" DESC',
    t,
    BEFORE,
  );

/** Finds where a search of notifications with random ids stopped. $1 the id from which it looked, $2 the last id. */
export const endOfOlderNotifications = (t: Tables): Statement => sql`
  SELECT n."createdAt" AS "at", n."notificationId" AS "id" FROM ${t.notificationLog} n
  WHERE n."notificationId" <= $1::uuid AND n."notificationId" >= $2::uuid
  ORDER BY n."notificationId" DESC
  OFFSET ${String(LOOKED_AT)} LIMIT 1`;

/** Finds notifications of a rare status. It looks at all notifications of this status. */
export const searchNotificationsOfStatus = forEach(Object.values(DeliveryStatus), (status, t) =>
  foundNotifications(
    `SELECT ${notification} FROM ${t.notificationLog} n
      WHERE n."deliveryStatus" >= '${status}' AND n."deliveryStatus" <= '${status}'
      ORDER BY n."deliveryStatus"
      LIMIT ${String(EXACT)}`,
    'f."createdAt" DESC, f."notificationId" DESC',
    t,
    BEFORE,
  ),
);

/** Finds the row at which a search stopped. $1 the notificationId after which the search began. */
export const endOfNotifications = (t: Tables): Statement => sql`
  SELECT n."createdAt" AS "end", n."createdAt" AS "begin", n."notificationId" AS "id"
  FROM ${t.notificationLog} n
  WHERE n."notificationId" < $1::uuid
  ORDER BY n."notificationId" DESC
  OFFSET ${String(LOOKED_AT - 1)} LIMIT 1`;

/** `jobLife` returns at most this many failed runs and this many notifications. */
export const MAX_OF_LIFE = 200;

/** $1 jobId. Returns no row if the job does not exist. */
export const jobWithUser = (t: Tables): Statement => sql`
  SELECT ${columns(LIFE_COLUMNS, 'j')}, u."username", u."email"
  FROM ${t.videoJobs} j LEFT JOIN ${t.users} u ON u."userId" = j."userId"
  WHERE j."jobId" = $1::uuid`;

/** $1 jobId. Returns the latest runs that failed or whose worker was lost. */
export const failedRuns = (t: Tables): Statement => sql`
  SELECT e."runNumber", e."workerId", e."errorMessage", e."createdAt"
  FROM ${t.jobAttemptErrors} e
  WHERE e."jobId" = $1::uuid
  ORDER BY e."runNumber" DESC
  LIMIT ${String(MAX_OF_LIFE)}`;

/** $1 jobId. Returns the latest notifications of the job. */
export const notificationsOfJob = (t: Tables): Statement => sql`
  SELECT ${notification} FROM ${t.notificationLog} n
  WHERE n."jobId" = $1::uuid
  ORDER BY n."runNumber" DESC NULLS LAST
  LIMIT ${String(MAX_OF_LIFE)}`;
