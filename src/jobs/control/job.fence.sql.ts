import { sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';

/** $1 jobId. Its state, which nobody else changes until the transaction ends. */
export const lockJob = (t: Tables): Statement => sql`
  SELECT "status", "runNumber", "workerId", "cancelledAt" IS NOT NULL AS "isCancelled"
  FROM ${t.videoJobs}
  WHERE "jobId" = $1::uuid
  FOR NO KEY UPDATE`;
