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
