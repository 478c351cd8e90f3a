import { sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';
import { JOB_COLUMNS } from '../job.columns.js';

/** The watched columns of a job as one text. Two states are compared by it. */
const STATE = `format('%s %s %s %s', j."status", j."runNumber", j."progress", j."progressMessage")`;

const OTHERS = JOB_COLUMNS.filter((name) => name !== 'jobId');

/** The columns of a row that has only these values of a job. The others are NULL. */
const only = (values: Readonly<Record<string, string>>): string =>
  OTHERS.map((name) => values[name] ?? 'NULL').join(', ');

const FOUND = only({ userId: 'n."userId"', createdAt: 'n."createdAt"' });

/**
 * Reads the changes for all watchers of a process. Arrays: $1 jobId, $2 the known state of that job, or null.
 * Further arrays: $3 userId, $4 and $5 `createdAt` and `jobId` of the job after which to look for jobs of that
 * user. If $4 is null, it looks for the newest jobs. $6 how many of the newest jobs, $7 how many rows of each
 * other kind at most.
 *
 * It returns rows of three kinds:
 *
 * - `job`: one row for each job of $1 whose state is not the known one. At most $7 of these rows have the
 *   job's columns, to limit the size of the answer: `parameters` may have 64 KB. The state is null if the job
 *   does not exist.
 * - `found`: the id of a user's job, and the entry of $3 to which it belongs. Two entries may be one user.
 * - `now`: one row. Its `createdAt` is the time of the database.
 */
export const watchedJobs = (t: Tables): Statement => sql`
  SELECT 'job' AS "kind", NULL::integer AS "entry", "jobId", "state",
    ${OTHERS.map((name) => `CASE WHEN "isSent" THEN "${name}" END AS "${name}"`).join(',\n    ')}
  FROM (
    SELECT w."jobId", CASE WHEN j."jobId" IS NOT NULL THEN ${STATE} END AS "state",
      count(j."jobId") OVER (ORDER BY w."position" ROWS UNBOUNDED PRECEDING) <= $7::integer AS "isSent",
      ${OTHERS.map((name) => `j."${name}"`).join(', ')}
    FROM unnest((SELECT $1::uuid[]), (SELECT $2::text[])) WITH ORDINALITY
      AS w("jobId", "known", "position")
    LEFT JOIN ${t.videoJobs} j ON j."jobId" = w."jobId"
    WHERE j."jobId" IS NULL OR ${STATE} IS DISTINCT FROM w."known"
  ) AS changed
  UNION ALL
  SELECT 'found', u."entry"::integer, n."jobId", NULL, ${FOUND}
  FROM unnest((SELECT $3::uuid[]), (SELECT $4::timestamptz[]), (SELECT $5::uuid[])) WITH ORDINALITY
    AS u("userId", "afterTime", "afterId", "entry")
  CROSS JOIN LATERAL (
    (SELECT j."jobId", j."userId", j."createdAt"
    FROM ${t.videoJobs} j
    WHERE u."afterTime" IS NULL AND j."userId" = u."userId"
    ORDER BY j."createdAt" DESC, j."jobId" DESC
    LIMIT $6::integer)
    UNION ALL
    (SELECT j."jobId", j."userId", j."createdAt"
    FROM ${t.videoJobs} j
    WHERE j."userId" = u."userId" AND (j."createdAt", j."jobId") > (u."afterTime", u."afterId")
    ORDER BY j."createdAt", j."jobId"
    LIMIT $7::integer)
  ) AS n
  UNION ALL
  SELECT 'now', NULL, NULL, NULL, ${only({ createdAt: 'statement_timestamp()' })}`;
