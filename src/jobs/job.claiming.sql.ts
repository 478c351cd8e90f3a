import { aboutFound, lockFirst } from '../sql/claim.sql.js';
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

/** One step of a claim: which jobs it takes, and in which order. */
export interface ClaimStep {
  /** CTEs that find and lock rows. The last CTE, `found`, has {@link FOUND_COLUMNS}, in the order of the queue. */
  readonly found: string;
  /** A further CTE that stores something about the claimed rows. */
  readonly noted?: string;
  /** Further columns of the first row: their names, types and expressions. */
  readonly about?: Readonly<Record<string, { readonly type: string; readonly value: string }>>;
}

/** The columns of a found job. $4 maxAttempts. */
export const FOUND_COLUMNS = `"jobId", "availableAt", "attempts" >= $4::integer AS "spent"`;

/** Whether workers may claim jobs: processing is not paused. */
export const isOpen = (t: Tables): string =>
  `(SELECT "pausedAt" FROM ${t.processingState}) IS NULL`;

/**
 * One step of a claim. $1 limit, $2 lease in ms, $3 workerId, $4 maxAttempts. It begins a new run of the first
 * jobs that it finds, up to `limit`. It leaves out jobs without a try left, and names them: `failSpent` fails
 * them. The first row is about the claim itself. Then come the claimed jobs, in any order.
 *
 * `= ANY(ARRAY(...))` uses the primary key where `UPDATE ... FROM` falls back to a sequential scan. No join and
 * no sort puts the jobs in order: for a claim of one job, starting a larger plan takes longer than its work.
 */
export const claimStep = (
  t: Tables,
  { found, noted = '', about = {} }: ClaimStep,
): Statement => sql`
  WITH ${found}, moved AS (
    UPDATE ${t.videoJobs} j
    SET ${UNCHANGED},
      "status" = 'processing',
      "startedAt" = ${NOW},
      "completedAt" = NULL,
      "availableAt" = ${LEASE_END},
      "runNumber" = "runNumber" + 1,
      "workerId" = $3::varchar,
      "attempts" = "attempts" + 1,
      "progress" = 0,
      "progressMessage" = NULL,
      "resultUrl" = NULL,
      "frameCount" = NULL,
      "output" = NULL
    WHERE "jobId" = ANY(ARRAY(SELECT "jobId" FROM found WHERE NOT "spent" LIMIT $1::integer))
    RETURNING ${columns(CLAIMED_COLUMNS, 'j')}
  )${noted}
  SELECT ${NOW} AS "startedAt", ${LEASE_END} AS "leaseEnd",
    ${[
      aboutFound('"jobId"'),
      ...Object.entries(about).map(([name, { value }]) => `${value} AS "${name}"`),
      ...CLAIMED_COLUMNS.map((name) => `NULL AS "${name}"`),
    ].join(', ')}
  FROM found
  UNION ALL
  SELECT NULL, NULL, NULL, NULL, NULL, ${[
    ...Object.values(about).map(({ type }) => `NULL::${type}`),
    columns(CLAIMED_COLUMNS, 'm'),
  ].join(', ')}
  FROM moved m`;

/**
 * Finds and locks the oldest due jobs in one partial index. $5 only jobs that are due since this time, $6 how many.
 *
 * @param due - the predicate of the index
 */
const oldest = (t: Tables, due: string, select = FOUND_COLUMNS): string =>
  `found AS MATERIALIZED (${lockFirst(
    `SELECT ${select}
      FROM ${t.videoJobs}
      WHERE ${due}
        AND "availableAt" <= statement_timestamp()
        AND "availableAt" >= (SELECT $5::timestamptz)
        AND ${isOpen(t)}
      ORDER BY "availableAt"`,
    '(SELECT $6::integer)',
  )}
  )`;

/** Writes an error row for each job of a CTE whose worker was lost. @param jobs - the CTE, and a condition */
const noteLost = (t: Tables, jobs: string): string => `, noted AS (
    INSERT INTO ${t.jobAttemptErrors} ("jobId", "runNumber", "workerId", "errorMessage", "createdAt")
    SELECT "jobId", "runNumber", "workerId", ${LOST_RUN}, ${NOW}
    FROM ${jobs}
    ON CONFLICT DO NOTHING
  )`;

/** Claims jobs whose leases have ended. $5 only jobs whose leases ended since this time, $6 how many to look at. */
const claimLeased = (t: Tables, condition: string): Statement =>
  claimStep(t, {
    found: oldest(t, `${IS_LEASED} AND ${condition}`, `${FOUND_COLUMNS}, "runNumber", "workerId"`),
    // Inside the CASE, PostgreSQL hashes the ids. As a plain condition it may compare each row with each.
    noted: noteLost(
      t,
      'found WHERE CASE WHEN NOT "spent" THEN "jobId" IN (SELECT "jobId" FROM moved) END',
    ),
  });

/** With $7, it leaves out jobs with exactly that number of attempts. */
export const claimLost = (t: Tables): Statement =>
  claimLeased(t, `"attempts" IS DISTINCT FROM $7::integer`);

/** Claims the jobs whose leases have ended and that have one try left. */
export const claimLastTries = (t: Tables): Statement =>
  claimLeased(t, `"attempts" = $4::integer - 1`);

/** Claims the pending jobs that are due. $5 only jobs that are due since this time, $6 how many to look at. */
export const claimPending = (t: Tables): Statement =>
  claimStep(t, { found: oldest(t, IS_PENDING) });

/**
 * A CTE that looks whether the lease of any job has ended. It does not use EXISTS, because EXISTS ignores the
 * order, so that the planner may read the table.
 */
export const lostCte = (t: Tables): string => `lost AS MATERIALIZED (
    SELECT (
      SELECT true FROM ${t.videoJobs}
      WHERE ${IS_LEASED} AND "availableAt" <= statement_timestamp()
      ORDER BY "availableAt" LIMIT 1
    ) AS "any"
  )`;

/** Whether `lostCte` found no job. */
export const NONE_LOST = `(SELECT "any" FROM lost) IS NULL`;

/** A column of the first row: whether `lostCte` found a job. */
export const ABOUT_LOST = {
  lost: { type: 'boolean', value: `(SELECT "any" FROM lost) IS NOT NULL` },
};

/** Claims pending jobs as `claimPending` does, but none if the lease of any job has ended: that job goes first. */
export const claimUnlessLost = (t: Tables): Statement =>
  claimStep(t, {
    found: `${lostCte(t)}, ${oldest(t, `${IS_PENDING} AND ${NONE_LOST}`)}`,
    about: ABOUT_LOST,
  });

/**
 * $1 jobIds, $2 maxAttempts. Fails due jobs that have no try left, each with its notification. It passes over
 * locked jobs, and over jobs that have moved. Returns how many it failed. The check of the status is inside a
 * CASE: with plain conditions the planner would read an index of the status.
 */
export const failSpent = (t: Tables): Statement => sql`
  WITH found AS MATERIALIZED (
    SELECT "jobId", "status", "runNumber", "workerId"
    FROM ${t.videoJobs}
    WHERE "jobId" = ANY((SELECT $1::uuid[])::uuid[]) AND "attempts" >= $2::integer
      AND "availableAt" <= statement_timestamp()
      AND CASE "status" WHEN 'pending' THEN true WHEN 'processing' THEN "workerId" IS NOT NULL END
      AND ${isOpen(t)}
    FOR NO KEY UPDATE SKIP LOCKED
  ), failed AS (
    UPDATE ${t.videoJobs} j
    SET ${UNCHANGED},
      "status" = 'failed',
      "completedAt" = ${NOW},
      "workerId" = NULL,
      "errorMessage" = CASE "status"
        WHEN 'processing' THEN format('Gave up after attempt %s: its worker was lost.', "attempts")
        ELSE COALESCE("errorMessage", format('Gave up after attempt %s.', "attempts")) END
    WHERE "jobId" = ANY(ARRAY(SELECT "jobId" FROM found))
    RETURNING j."jobId", j."userId", j."runNumber"
  ), notified AS (
    INSERT INTO ${t.notificationLog}
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber", "createdAt",
        "availableAt")
    SELECT ${NEW_ID}, f."jobId", 'failure', u."email", f."runNumber", ${NOW}, ${NOW}
    FROM failed f JOIN ${t.users} u ON u."userId" = f."userId"
    ON CONFLICT ("jobId", "runNumber") DO NOTHING
  )${noteLost(t, `found WHERE "status" = 'processing'`)}
  SELECT count(*)::integer AS "count" FROM failed`;

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
    COALESCE(EXTRACT(EPOCH FROM statement_timestamp() - min(GREATEST("availableAt", 'epoch'))) * 1000, 0)::bigint AS "ageMs"
  FROM ${t.videoJobs}
  WHERE ((${IS_PENDING}) OR (${IS_LEASED})) AND "availableAt" <= statement_timestamp()`;
