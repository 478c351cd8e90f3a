/** The status of a job. docs/reference/job-life.md lists all moves between them. */
export const JobStatus = {
  /** It waits to be claimed: new, or between two tries. */
  PENDING: 'pending',
  /** A worker has it. */
  PROCESSING: 'processing',
  /** It has a result. This is final. */
  COMPLETED: 'completed',
  /** It has an error, or was cancelled. This is final until somebody calls `retryJob`. */
  FAILED: 'failed',
} as const;
/** One of the values of the constant of this name, also written as its text: `'failed'`. */
export type JobStatus = (typeof JobStatus)[keyof typeof JobStatus];
