import { IS_PENDING, IS_PENDING_OF_USER } from '../schema/queue.indexes.js';
import type { Tables } from '../schema/tables.js';
import { lockFirst } from '../sql/claim.sql.js';
import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import {
  ABOUT_LOST,
  claimStep,
  FOUND_COLUMNS,
  isOpen,
  lostCte,
  NONE_LOST,
} from './job.claiming.sql.js';

/** One statement passes over at most this many users who have no job that can be claimed now. */
export const MAX_PASSED = 256;

const IS_DUE = `"availableAt" <= statement_timestamp()`;

/** Counts the processing jobs of a user, up to `most`. */
const running = (t: Tables, userId: string, most: string): string => `(
        SELECT count(*)::integer FROM (
          SELECT FROM ${t.videoJobs} r
          WHERE r."userId" = ${userId} AND r."status" = 'processing'
          LIMIT ${most}
        ) AS counted
      )`;

/**
 * CTEs that visit the users who have pending jobs, in the order of their ids. For each user they read the
 * oldest pending job. This is a loose index scan: it costs one look into the index for each user.
 *
 * `ahead` goes from the start to the last user. Then `behind` goes from the first user back to the start.
 * There are two scans, because one recursion that turned round would not end, or would leave users out.
 * "turn" counts the users whose turn has come. "passed" counts the other users. The first row is no user:
 * it is the start.
 *
 * @param after - the user after whom the walk begins
 * @param most - the walk ends after this many users whose turn has come
 * @param isTurn - whether a user's turn has come; `j` is the row of the user's oldest job
 * @param open - whether anything may be claimed at all
 */
function walk(t: Tables, after: string, most: string, isTurn: string, open = isOpen(t)): string {
  const next = (where: string): string => `(
      SELECT j."userId", ${isTurn} AS "isTurn"
      FROM ${t.videoJobs} j
      WHERE ${IS_PENDING_OF_USER} AND ${where}
      ORDER BY j."userId", j."availableAt"
      LIMIT 1
    )`;
  // After it has passed over a user, it checks whether any job is due at all. It does not use EXISTS, because
  // EXISTS ignores the order, so that the planner may read the table.
  const goesOn = `CASE w."passed" WHEN 0 THEN true WHEN ${MAX_PASSED} THEN false ELSE (
        SELECT true FROM ${t.videoJobs} WHERE ${IS_PENDING} AND ${IS_DUE} ORDER BY "availableAt" LIMIT 1
      ) END`;
  const onward = (name: string, end: string): string => `
    SELECT n."userId", n."isTurn", w."turn" + n."isTurn"::integer,
      w."passed" + 1 - n."isTurn"::integer, w."most"
    FROM ${name} w CROSS JOIN LATERAL ${next(`j."userId" > w."userId"${end}`)} AS n
    WHERE w."turn" < w."most" AND ${goesOn}`;
  return `ahead AS (
    SELECT ${after} AS "userId", false AS "isTurn", 0 AS "turn", 0 AS "passed", ${most} AS "most"
    WHERE ${open}
    UNION ALL${onward('ahead', '')}
  ), behind AS (
    SELECT f."userId", f."isTurn", a."turn" + f."isTurn"::integer AS "turn",
      a."passed" + 1 - f."isTurn"::integer AS "passed", a."most"
    FROM (
      SELECT max("turn") AS "turn", max("passed") AS "passed", max("most") AS "most" FROM ahead
    ) AS a CROSS JOIN ${next(`j."userId" <= ${after}`)} AS f
    WHERE a."turn" < a."most" AND a."passed" < ${MAX_PASSED}
    UNION ALL${onward('behind', ` AND j."userId" <= ${after}`)}
  ), walked AS MATERIALIZED (
    SELECT * FROM ahead UNION ALL SELECT * FROM behind
  )`;
}

/** The last user that a walk visited, its counts at that point, and its "most", as JSON. */
const END_OF_WALK = `(
      SELECT json_build_array("userId", "turn", "passed", "most")
      FROM walked ORDER BY "turn" + "passed" DESC LIMIT 1
    )`;

/**
 * The due jobs of a user, from the oldest on.
 *
 * The user is compared with `>=` and `<=` on purpose. With `=`, and statistics from a time with few users, the
 * planner may choose the index on the time alone. It would then read past all the jobs of other users. The
 * comparison of rows ends the scan at the first job that is not due.
 */
const dueOf = (t: Tables, userId: string): string => `SELECT ${FOUND_COLUMNS}
        FROM ${t.videoJobs} j
        WHERE ${IS_PENDING_OF_USER}
          AND j."userId" >= ${userId} AND j."userId" <= ${userId}
          AND (j."userId", j."availableAt") <= (${userId}, statement_timestamp())
        ORDER BY j."userId", j."availableAt"`;

/**
 * A CTE for a claim in turn. It reads the CTE `turns`, which has "userId", "turn" and "quota". For each user
 * it finds and locks the oldest due jobs, up to the user's quota.
 *
 * @param kept - which of these rows it returns; "nth" counts a user's jobs that have a try left
 */
const oldestOfEach = (t: Tables, kept?: string): string =>
  `found AS MATERIALIZED (
    SELECT o."jobId", o."availableAt", o."spent"
    FROM turns CROSS JOIN LATERAL (
      ${kept === undefined ? '' : `SELECT *, ${NTH} FROM (`}
      ${lockFirst(dueOf(t, 'turns."userId"'), 'turns."quota"')}
      ${kept === undefined ? '' : ') AS oldest'}
    ) AS o
    ${kept === undefined ? '' : `WHERE ${kept}`}
    ORDER BY turns."turn", o."availableAt"
  )`;

/** Counts the jobs of a user that have a try left, from the oldest on. */
const NTH = `count(*) FILTER (WHERE NOT "spent") OVER (
        ORDER BY "availableAt" ROWS UNBOUNDED PRECEDING) AS "nth"`;

/** Divides the number of rows equally between the users. The first users get the remainder. */
const share = (look: string, users: string): string => `(${look} - "turn" + ${users}) / ${users}`;

/** CTEs that find the oldest jobs of one user after the other. $5 the user before the first, $6 how many to look for. */
const inTurn = (t: Tables, open?: string): string =>
  `${walk(t, '$5::uuid', '$6::integer', IS_DUE, open)}, turns AS (
    SELECT "userId", "turn", ${share('"most"', '"users"')} AS "quota"
    FROM walked CROSS JOIN (SELECT max("turn") AS "users" FROM walked) AS counted
    WHERE "isTurn"
  ), ${oldestOfEach(t)}`;

const WALKED = { walked: { type: 'json', value: END_OF_WALK } };

/** The time from the begin of the statement until all rows are found, in ms. The count waits for them. */
const SEARCH_MS = {
  searchMs: {
    type: 'double precision',
    value: `EXTRACT(EPOCH FROM clock_timestamp() - statement_timestamp())::double precision * 1000
      + 0 * count(*)`,
  },
};

/**
 * CTEs that find the oldest due job of the next user who has a pending job. This is the first step of a walk. If most
 * users have due jobs, it is all that a claim of one job needs, and it takes a third of the extra time of `inTurn`. It
 * finds nothing if that job is not due, or if other claims hold the user's due jobs. $5 the user before.
 */
const ofNextUser = (t: Tables, open = isOpen(t)): string => {
  const firstUser = (where = ''): string => `(
      SELECT j."userId" FROM ${t.videoJobs} j WHERE ${IS_PENDING_OF_USER} ${where}
      ORDER BY j."userId", j."availableAt" LIMIT 1
    )`;
  return `next AS MATERIALIZED (
    SELECT COALESCE(${firstUser('AND j."userId" > (SELECT $5::uuid)')}, ${firstUser()}) AS "userId"
    WHERE ${open}
  ), found AS MATERIALIZED (
    SELECT o.* FROM next CROSS JOIN LATERAL (
      ${dueOf(t, 'next."userId"')}
      LIMIT 1
      FOR NO KEY UPDATE SKIP LOCKED
    ) AS o
  )`;
};

/** The end of a walk that has had one turn, in the form of `END_OF_WALK`. */
const WALKED_ONE = {
  walked: {
    type: 'json',
    value: `(SELECT json_build_array("userId", 1, 0, 1) FROM next WHERE "userId" IS NOT NULL)`,
  },
};

/**
 * Claims pending jobs that are due, of one user after the other. $5 the user after whom it begins, $6 how
 * many jobs to look for. Each user gets an equal share of $6. With fewer users, the shares are larger.
 */
export const claimInTurn = (t: Tables): Statement =>
  claimStep(t, { found: `RECURSIVE ${inTurn(t)}`, about: { ...WALKED, ...SEARCH_MS } });

/** Claims the oldest due job of the next user. $5 the user before. It has no $6. */
export const claimOfNextUser = (t: Tables): Statement =>
  claimStep(t, { found: ofNextUser(t), about: { ...WALKED_ONE, ...SEARCH_MS } });

/** Claims as `claimInTurn` does, but nothing if the lease of any job has ended: that job goes first. */
export const claimInTurnUnlessLost = (t: Tables): Statement =>
  claimStep(t, {
    found: `RECURSIVE ${lostCte(t)}, ${inTurn(t, `${isOpen(t)} AND ${NONE_LOST}`)}`,
    about: { ...WALKED, ...ABOUT_LOST },
  });

/** Claims as `claimOfNextUser` does, but nothing if the lease of any job has ended. */
export const claimOfNextUserUnlessLost = (t: Tables): Statement =>
  claimStep(t, {
    found: `${lostCte(t)}, ${ofNextUser(t, `${isOpen(t)} AND ${NONE_LOST}`)}`,
    about: { ...WALKED_ONE, ...ABOUT_LOST },
  });

/**
 * The first of two statements of one transaction. It locks users whose turn it is, so that no other claim
 * gives out their jobs until the transaction ends. It passes over users who are locked already. $1 how many
 * users to lock, $2 the user after whom it begins, $3 how many users to look for, $4 how many jobs of a user
 * may run at once.
 *
 * One statement cannot both lock the users and count their running jobs: it would count the state from
 * before it got the locks.
 */
export const lockUsersInTurn = (t: Tables): Statement => {
  const isTurn = `CASE WHEN ${IS_DUE} THEN ${running(t, 'j."userId"', '$4::integer')} < $4::integer
        ELSE false END`;
  return sql`
  WITH RECURSIVE ${walk(t, '$2::uuid', '$3::integer', isTurn)}, locked AS MATERIALIZED (
    SELECT l."userId"
    FROM walked CROSS JOIN LATERAL (
      SELECT u."userId" FROM ${t.users} u WHERE u."userId" = walked."userId"
      FOR NO KEY UPDATE SKIP LOCKED
    ) AS l
    WHERE walked."isTurn"
    LIMIT $1::integer
  )
  SELECT to_json(ARRAY(SELECT "userId" FROM locked)) AS "users", ${END_OF_WALK} AS "walked"`;
};

/**
 * The second of the two statements. It claims pending jobs of the locked users that are due. $5 the users,
 * in the order of their turns. $7 how many jobs of a user may run at once, with the jobs that run already.
 *
 * A job without a try left needs no place. So a statement that looks at more jobs than it may claim also looks
 * at more jobs of a user than the user has places. The OFFSET keeps the planner from counting the running jobs
 * once for each use of "places".
 */
export const claimOfLockedUsers = (t: Tables): Statement =>
  claimStep(t, {
    found: `turns AS (
    SELECT "userId", "turn", "places", least(
      ${share('$6::integer', 'cardinality((SELECT $5::uuid[]))')},
      "places" * greatest($6::integer / $1::integer, 1)
    ) AS "quota"
    FROM (
      SELECT "userId", "turn", $7::integer - ${running(t, 'u."userId"', '$7::integer')} AS "places"
      FROM unnest((SELECT $5::uuid[])) WITH ORDINALITY AS u("userId", "turn")
      OFFSET 0
    ) AS counted
  ), ${oldestOfEach(t, 'o."spent" OR o."nth" <= turns."places"')}`,
  });
