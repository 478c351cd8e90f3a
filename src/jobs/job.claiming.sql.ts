import { arrays, columns, NEW_ID, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import { IS_LEASED, IS_PENDING } from '../schema/queue.indexes.js';
import type { Tables } from '../schema/tables.js';
import { job, JOB_COLUMNS, UNCHANGED } from './job.columns.js';

/** When a lease that begins now is over; $2 is its length in ms. */
const LEASE_END = `${NOW} + make_interval(secs => $2::double precision / 1000)`;

/** The error message of a run whose lease ended before the run did. */
const LOST_RUN = `format('The worker was lost: the lease of %s ended before its run did.', "workerId")`;

/**
 * $1 jobId, $2 workerId or null, $3 lease in ms. Returns no row if the job does not exist. Otherwise it
 * returns one row: the state of the job before, and the started job if it could be started.
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
      "attempts" = j."attempts" + 1,
      "progress" = 0,
      "progressMessage" = NULL
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
    locked."workerId" AS "workerIdBefore", ${columns(JOB_COLUMNS, 'started', 'job.')}
  FROM locked LEFT JOIN started ON true`;

/** The columns that differ between the jobs of one claim. */
export const CLAIMED_COLUMNS = [
  'jobId',
  'userId',
  'filename',
  'videoUrl',
  'errorMessage',
  'createdAt',
  'runNumber',
  'attempts',
  'parameters',
] as const;

/** Sets a column of a claimed job: to `run` for a new run, or to `end` if the job has no try left and fails. */
const set = (column: string, run: string, end = `"${column}"`): string =>
  `"${column}" = CASE WHEN "attempts" < $4::integer THEN ${run} ELSE ${end} END`;

/** One step of a claim: which jobs it takes, and in which order. */
export interface ClaimStep {
  /** CTEs that lock rows. The last CTE, `found`, has "jobId", "runNumber", "workerId", "availableAt", "spent". */
  readonly found: string;
  /** The columns of `found` by which jobs are taken and returned. */
  readonly order: readonly string[];
  /** The error message of a job that has no try left, if it has no earlier one. */
  readonly lost: string;
  /** A further CTE that stores something about the claimed rows. */
  readonly noted?: string;
  /** Further columns of the first row: their names, types and expressions. */
  readonly about?: Readonly<Record<string, { readonly type: string; readonly value: string }>>;
}

/** The columns of a found job, in any order of claiming. $4 maxAttempts. */
export const FOUND_COLUMNS = `"jobId", "runNumber", "workerId", "availableAt", "attempts" >= $4::integer AS "spent"`;

/** Whether workers may claim jobs: processing is not paused. */
export const isOpen = (t: Tables): string =>
  `(SELECT "pausedAt" FROM ${t.processingState}) IS NULL`;

/**
 * One step of a claim. $1 limit, $2 lease in ms, $3 workerId, $4 maxAttempts. Every job that it finds
 * without a try left fails, and gets its notification. Of the other jobs up to `limit` begin a new run.
 * The first row is about the claim itself. Then come the claimed jobs, in order.
 *
 * `= ANY(ARRAY(...))` uses the primary key where `UPDATE ... FROM` falls back to a sequential scan.
 * Plain `FOR UPDATE` would also skip jobs for which somebody inserts a notification. The last join is a
 * FULL join on purpose. PostgreSQL expects a few rows on both sides, and might choose a nested loop, which
 * compares each row with each. It cannot run a FULL join as a nested loop.
 */
export const claimStep = (
  t: Tables,
  { found, order, lost, noted = '', about = {} }: ClaimStep,
): Statement => sql`
  WITH ${found}, taken AS MATERIALIZED (
    SELECT * FROM found WHERE "spent"
    UNION ALL
    (SELECT * FROM found WHERE NOT "spent" ORDER BY ${columns(order, 'found')} LIMIT $1::integer)
  ), moved AS (
    UPDATE ${t.videoJobs} j
    SET ${[
      UNCHANGED,
      set('status', `'processing'`, `'failed'`),
      set('startedAt', NOW),
      set('completedAt', 'NULL', NOW),
      set('availableAt', LEASE_END),
      set('runNumber', '"runNumber" + 1'),
      set('workerId', '$3::varchar', 'NULL'),
      set('attempts', '"attempts" + 1'),
      set('progress', '0'),
      set('progressMessage', 'NULL'),
      set('resultUrl', 'NULL'),
      set('frameCount', 'NULL'),
      set('output', 'NULL'),
      set('errorMessage', '"errorMessage"', lost),
    ].join(',\n      ')}
    WHERE "jobId" = ANY(ARRAY(SELECT "jobId" FROM taken))
    RETURNING ${columns(CLAIMED_COLUMNS, 'j')}, "status"
  ), notified AS (
    INSERT INTO ${t.notificationLog}
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber", "createdAt",
        "availableAt")
    SELECT ${NEW_ID}, m."jobId", 'failure', u."email", m."runNumber", ${NOW}, ${NOW}
    FROM moved m JOIN ${t.users} u ON u."userId" = m."userId"
    WHERE m."status" = 'failed'
    ON CONFLICT ("jobId", "runNumber") DO NOTHING
  )${noted}
  SELECT ${NOW} AS "startedAt", ${LEASE_END} AS "leaseEnd",
    (SELECT count(*)::integer FROM found) AS "found",
    (SELECT count(*)::integer FROM taken WHERE "spent") AS "failed",
    (SELECT max("availableAt") FROM taken) AS "lastDue",
    (SELECT array_agg((EXTRACT(EPOCH FROM statement_timestamp() - "availableAt") * 1000)::bigint)
      FROM taken WHERE NOT "spent") AS "waited",
    ${[
      ...Object.entries(about).map(([name, { value }]) => `${value} AS "${name}"`),
      ...CLAIMED_COLUMNS.map((name) => `NULL AS "${name}"`),
    ].join(', ')}
  UNION ALL
  SELECT * FROM (
    SELECT NULL::timestamptz, NULL::timestamptz, NULL::integer, NULL::integer, NULL::timestamptz,
      NULL::bigint[],
      ${[
        ...Object.values(about).map(({ type }) => `NULL::${type}`),
        columns(CLAIMED_COLUMNS, 'm'),
      ].join(', ')}
    FROM taken FULL JOIN moved m ON m."jobId" = taken."jobId"
    WHERE taken."spent" IS NOT TRUE
    ORDER BY ${columns(order, 'taken')}, m."jobId"
  ) AS claimed`;

/**
 * A CTE that finds and locks the oldest due jobs in one partial index.
 *
 * @param due - which jobs: the predicate of their index
 * @param limit - how many
 */
const oldest = (t: Tables, name: string, due: string, limit: string): string =>
  `${name} AS MATERIALIZED (
    SELECT ${FOUND_COLUMNS}
    FROM ${t.videoJobs}
    WHERE ${due}
      AND "availableAt" <= statement_timestamp()
      AND ${isOpen(t)}
    ORDER BY "availableAt"
    LIMIT ${limit}
    FOR NO KEY UPDATE SKIP LOCKED
  )`;

const DUE_FROM = `"availableAt" >= $5::timestamptz`;

/** The parameters of a step with one part: $5 is the time from which jobs are due, $6 how many to take. */
const oldestFrom = (t: Tables, due: string): Pick<ClaimStep, 'found' | 'order'> => ({
  found: oldest(t, 'found', `${due} AND ${DUE_FROM}`, '$6::integer'),
  order: ['availableAt'],
});

/** The error message of a job that has no try left and whose lease has ended. */
const WORKER_WAS_LOST = `format('Gave up after attempt %s: its worker was lost.', "attempts")`;

/** A CTE that writes an error row for each run whose worker was lost. @param taken - the claimed jobs of such runs */
const noteLost = (t: Tables, taken: string): string => `, noted AS (
    INSERT INTO ${t.jobAttemptErrors} ("jobId", "runNumber", "workerId", "errorMessage", "createdAt")
    SELECT "jobId", "runNumber", "workerId", ${LOST_RUN}, ${NOW}
    FROM ${taken}
    ON CONFLICT DO NOTHING
  )`;

const claimLeased = (t: Tables, condition: string): Statement =>
  claimStep(t, {
    ...oldestFrom(t, `${IS_LEASED} AND ${condition}`),
    lost: WORKER_WAS_LOST,
    noted: noteLost(t, 'taken'),
  });

/** Claims the jobs whose leases have ended. With $7, it leaves out jobs with exactly that number of attempts. */
export const claimLost = (t: Tables): Statement =>
  claimLeased(t, `"attempts" IS DISTINCT FROM $7::integer`);

/** Claims the jobs whose leases have ended and that have one try left. */
export const claimLastTries = (t: Tables): Statement =>
  claimLeased(t, `"attempts" = $4::integer - 1`);

/** The error message of a pending job that has no try left. */
export const NO_TRY_LEFT = `COALESCE("errorMessage", format('Gave up after attempt %s.', "attempts"))`;

/** Claims the pending jobs that are due. */
export const claimPending = (t: Tables): Statement =>
  claimStep(t, { ...oldestFrom(t, IS_PENDING), lost: NO_TRY_LEFT });

/** The number of pending jobs that `lostFirst` still has room for. */
export const PLACES_LEFT = `(SELECT "left" FROM places)`;

/**
 * A step with two parts. First it takes up to $6 jobs whose leases have ended. If it found fewer, it fills
 * the rest with pending jobs.
 *
 * @param pending - CTEs that find up to `PLACES_LEFT` pending jobs; the last CTE is `due`
 * @param order - the columns of `due` by which pending jobs are taken
 * @param condition - a further condition for the jobs whose leases have ended
 */
export const lostFirst = (
  t: Tables,
  pending: string,
  order: readonly string[],
  condition = '',
): ClaimStep => {
  const found = ['jobId', 'runNumber', 'workerId', 'availableAt', 'spent'];
  const added = order.filter((name) => !found.includes(name));
  return {
    found: `${oldest(t, 'lost', `${IS_LEASED}${condition}`, '$6::integer')},
  places AS MATERIALIZED (
    SELECT $6::integer - count(*)::integer AS "left" FROM lost
  ), ${pending}, found AS MATERIALIZED (
    SELECT ${columns([...found, ...added], 'due')}, 2 AS "part" FROM due
    UNION ALL
    SELECT ${[columns(found, 'lost'), ...added.map(() => '0')].join(', ')}, 1 FROM lost
  )`,
    order: ['part', ...order],
    lost: `CASE "status" WHEN 'processing' THEN ${WORKER_WAS_LOST} ELSE ${NO_TRY_LEFT} END`,
    noted: noteLost(t, 'taken WHERE "part" = 1'),
  };
};

/** Claims jobs whose leases have ended and pending jobs, each by age. $5 only jobs due since this time, $6 how many. */
export const claimAny = (t: Tables): Statement => {
  const pending = oldest(t, 'due', `${IS_PENDING} AND ${DUE_FROM}`, PLACES_LEFT);
  return claimStep(t, lostFirst(t, pending, ['availableAt'], ` AND ${DUE_FROM}`));
};

/**
 * Arrays: $1 jobId, $2 runNumber, $3 workerId. $4 lease in ms.
 *
 * Returns a row for each lease that is still held, and says whether it was extended. Also returns a row for
 * each lease that a cancellation has ended, and for each job that no longer exists. It waits for no lock. A
 * locked row keeps its deadline: mostly its own worker is just writing the outcome. A lease that has ended
 * counts as held only if it was extended. The check of the run is inside a CASE: with plain conditions the
 * planner would read an index of the status.
 */
export const extendLeases = (t: Tables): Statement => sql`
  WITH asked AS MATERIALIZED (
    SELECT i.*, j."availableAt" > statement_timestamp() AS "lasts",
      j."status" = 'processing' AND j."runNumber" = i."runNumber" AND j."workerId" = i."workerId"
        AS "held",
      j."cancelledAt" IS NOT NULL AND j."runNumber" > i."runNumber" AS "cancelled",
      j."jobId" IS NULL AS "deleted"
    FROM ${arrays('uuid', 'integer', 'varchar')} AS i("jobId", "runNumber", "workerId")
    LEFT JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
  ), locked AS MATERIALIZED (
    SELECT j."jobId"
    FROM asked JOIN ${t.videoJobs} j ON j."jobId" = asked."jobId"
    WHERE asked."held" AND CASE WHEN j."status" = 'processing'
      THEN j."runNumber" = asked."runNumber" AND j."workerId" = asked."workerId" END
    FOR NO KEY UPDATE OF j SKIP LOCKED
  ), extended AS (
    UPDATE ${t.videoJobs}
    SET "availableAt" = ${NOW} + make_interval(secs => $4::double precision / 1000)
    WHERE "jobId" = ANY(ARRAY(SELECT "jobId" FROM locked))
  )
  SELECT "jobId", "runNumber", "extended", "cancelled", "deleted"
  FROM (
    SELECT "jobId", "runNumber", "held", "lasts", "cancelled", "deleted",
      "held" AND "jobId" IN (SELECT "jobId" FROM locked) AS "extended"
    FROM asked
  ) AS lease
  WHERE ("held" AND "lasts") OR "extended" OR "cancelled" OR "deleted"`;

/** No parameter. Counts the due jobs, and says how long the job that waits longest has been due. */
export const jobQueueState = (t: Tables): Statement => sql`
  SELECT count(*)::integer AS "depth",
    COALESCE(EXTRACT(EPOCH FROM statement_timestamp() - min("availableAt")) * 1000, 0)::bigint AS "ageMs"
  FROM ${t.videoJobs}
  WHERE ((${IS_PENDING}) OR (${IS_LEASED})) AND "availableAt" <= statement_timestamp()`;
