import { sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';
import { JOB_COLUMNS } from '../job.columns.js';

/** The watched columns of a job as one text, to compare states. */
const STATE = `format('%s %s %s %s', j."status", j."runNumber", j."progress", j."progressMessage")`;

const OTHERS = JOB_COLUMNS.filter((name) => name !== 'jobId');

/** A row that has nothing of a job but these columns. */
const only = (values: Readonly<Record<string, string>>): string =>
  OTHERS.map((name) => values[name] ?? 'NULL').join(', ');

const FOUND = only({ userId: 'n."userId"', createdAt: 'n."createdAt"' });

/**
 * What all watchers of a process want to know, by primary key. Arrays: $1 jobId, $2 the state that is
 * known, or null; then $3 userId, $4 and $5 `createdAt` and `jobId` behind which that user's jobs are looked
 * for, $4 null for the newest; $6 how many of the newest, $7 how many rows of each other kind at the most.
 *
 * - `job`: one for each job of $1 that is not as it is known. Its columns come with $7 of them, so that the
 *   answer is bounded: `parameters` may be 64 KB. The state is null if there is no such job.
 * - `found`: the ids of the jobs of a user, and which entry of $3 that is: two may be the same user.
 * - `now`: one, whose `createdAt` is the time of the database.
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
