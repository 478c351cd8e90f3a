import { sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';
import { JOB_COLUMNS } from '../job.columns.js';

/** What a watcher is told the changes of, as one text. */
const STATE = `format('%s %s %s %s', j."status", j."runNumber", j."progress", j."progressMessage")`;

const OTHERS = JOB_COLUMNS.filter((name) => name !== 'jobId');

/**
 * What all watchers of a process want to know, by primary key. Arrays: $1 jobId, $2 the state that is
 * known, or null; then $3 userId, $4 the time from which that user's new jobs are looked for, $5 how many
 * of them at the most.
 *
 * A row for each job of $1 that exists, with its columns if its state differs; then one with just the ids
 * for each of the users' jobs, newest first. Only what changed is sent: `parameters` may be 64 KB.
 */
export const watchedJobs = (t: Tables): Statement => sql`
  SELECT false AS "isOfUser", j."jobId", ${STATE} AS "state",
    ${OTHERS.map((name) => `CASE WHEN ${STATE} IS DISTINCT FROM w."known" THEN j."${name}" END AS "${name}"`).join(',\n    ')}
  FROM unnest((SELECT $1::uuid[]), (SELECT $2::text[])) AS w("jobId", "known")
  JOIN ${t.videoJobs} j ON j."jobId" = w."jobId"
  UNION ALL
  SELECT true, n."jobId", NULL,
    ${OTHERS.map((name) => (name === 'userId' || name === 'createdAt' ? `n."${name}"` : 'NULL')).join(', ')}
  FROM unnest((SELECT $3::uuid[]), (SELECT $4::timestamptz[]), (SELECT $5::integer[]))
    AS u("userId", "since", "most")
  CROSS JOIN LATERAL (
    SELECT j."jobId", j."userId", j."createdAt"
    FROM ${t.videoJobs} j
    WHERE j."userId" = u."userId" AND j."createdAt" >= u."since"
    ORDER BY j."createdAt" DESC, j."jobId" DESC
    LIMIT u."most"
  ) AS n`;
