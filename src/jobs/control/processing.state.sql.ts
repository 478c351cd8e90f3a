import { NOW, sql } from '../../sql/statement.js';
import type { Statement } from '../../sql/statement.js';
import type { Tables } from '../../schema/tables.js';

/** $1 the reason, or null. Returns one row. If processing is paused already, `pausedAt` stays. */
export const pauseProcessing = (t: Tables): Statement => sql`
  UPDATE ${t.processingState}
  SET "pausedAt" = COALESCE("pausedAt", ${NOW}), "reason" = COALESCE($1::text, "reason")
  RETURNING "pausedAt"`;

/** Returns a row if processing was paused. */
export const resumeProcessing = (t: Tables): Statement => sql`
  UPDATE ${t.processingState}
  SET "pausedAt" = NULL, "reason" = NULL
  WHERE "pausedAt" IS NOT NULL
  RETURNING "pausedAt"`;
