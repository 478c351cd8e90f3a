import { columns } from '../sql/statement.js';

/** The columns of `video_jobs`, in the order of the table. */
export const JOB_COLUMNS = [
  'jobId',
  'userId',
  'filename',
  'status',
  'videoUrl',
  'resultUrl',
  'frameCount',
  'errorMessage',
  'createdAt',
  'startedAt',
  'completedAt',
  'availableAt',
  'runNumber',
  'workerId',
  'attempts',
  'progress',
  'progressMessage',
  'cancelledAt',
  'parameters',
  'output',
] as const;

/** The columns of `video_jobs` of the row `j`, for a statement. */
export const job = columns(JOB_COLUMNS, 'j');

/** The columns of `job_attempt_errors`, in the order of the table. */
export const ATTEMPT_ERROR_COLUMNS = [
  'jobId',
  'runNumber',
  'workerId',
  'errorMessage',
  'createdAt',
] as const;

/**
 * Columns of the row `j` that a statement sets to the values that they have. PostgreSQL then treats them as
 * changed. So, when a page of one of their indexes is full, it does not search the table for older versions
 * of rows. Such a search finds little, because the jobs of one user are spread over the whole table, and the
 * next job would need another search. Without this, claims and completions take a seventh more of the
 * server's time.
 */
export const UNCHANGED = `"userId" = j."userId",
      "createdAt" = j."createdAt"`;
