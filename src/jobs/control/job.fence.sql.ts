import { sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';

/** $1 jobId. Locks the job until the transaction ends, and returns its state. */
export const lockJob = (t: Tables): Statement => sql`
  SELECT "status", "runNumber", "workerId", "cancelledAt" IS NOT NULL AS "isCancelled"
  FROM ${t.videoJobs}
  WHERE "jobId" = $1::uuid
  FOR NO KEY UPDATE`;
