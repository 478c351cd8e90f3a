/** Where a job is in its life. The states and the moves between them are drawn in the README. */
export const JobStatus = {
  PENDING: 'pending',
  PROCESSING: 'processing',
  COMPLETED: 'completed',
  FAILED: 'failed',
} as const;
/** One of the values of the constant of this name, also written as its text: `'failed'`. */
export type JobStatus = (typeof JobStatus)[keyof typeof JobStatus];
