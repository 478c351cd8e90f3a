import { columns, page, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { ATTEMPT_ERROR_COLUMNS, job } from './job.columns.js';

/** $1 jobId, $2 userId or null for any user. */
export const getJob = (t: Tables): Statement => sql`
  SELECT ${job}
  FROM ${t.videoJobs} j
  WHERE j."jobId" = $1::uuid AND ($2::uuid IS NULL OR j."userId" = $2::uuid)`;

/** Filters by userId and status, newest first. For the parameters see {@link page}. */
export const listJobs =
  (filters: { userId: boolean; status: boolean }, after: boolean) =>
  (t: Tables): Statement =>
    page(
      `SELECT ${job} FROM ${t.videoJobs} j`,
      { 'j."userId"': filters.userId && 'uuid', 'j."status"': filters.status && 'varchar' },
      'j."jobId"',
      after,
    );

/** No parameter. */
export const countJobs = (t: Tables): Statement => sql`
  SELECT j."status", count(*)::integer AS "count" FROM ${t.videoJobs} j GROUP BY j."status"`;

/** $1 userId. */
export const countJobsOfUser = (t: Tables): Statement => sql`
  SELECT j."status", count(*)::integer AS "count"
  FROM ${t.videoJobs} j
  WHERE j."userId" = $1::uuid
  GROUP BY j."status"`;

/** $1 jobId, $2 userId or null for any user. Returns one row without a run if the job exists and no run failed. */
export const listAttemptErrors = (t: Tables): Statement => sql`
  SELECT ${columns(ATTEMPT_ERROR_COLUMNS, 'e')}
  FROM ${t.videoJobs} j LEFT JOIN ${t.jobAttemptErrors} e ON e."jobId" = j."jobId"
  WHERE j."jobId" = $1::uuid AND ($2::uuid IS NULL OR j."userId" = $2::uuid)
  ORDER BY e."runNumber"`;
