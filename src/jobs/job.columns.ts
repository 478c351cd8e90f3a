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

/** Those of the row `j`, for a statement. */
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
 * Columns of the row `j` that a statement sets to what they are. PostgreSQL then takes them for changed, and
 * does not look in the table for older versions of the row whenever a page of one of their indexes is full.
 * The jobs of one user are spread over the whole table: each look would find a few, and the next job would
 * need another one. Without this, claiming and completing take a seventh more of the server's time.
 */
export const UNCHANGED = `"userId" = j."userId",
      "createdAt" = j."createdAt"`;
