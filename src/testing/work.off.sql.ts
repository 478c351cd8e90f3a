import { IS_LEASED, IS_PENDING, IS_UNDELIVERED } from '../schema/queue.indexes.js';
import { ROUND } from '../notifications/delivery.round.js';
import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';

/**
 * $1 the workerId of the application's worker. Returns one row: how many jobs and deliveries are due or running, and
 * whether processing is paused. A delivery that is not due counts as running if its try is not counted yet.
 */
export const openWork = (t: Tables): Statement => sql`
  SELECT
    (SELECT count(*)::integer FROM ${t.videoJobs}
      WHERE (${IS_PENDING} AND "availableAt" <= statement_timestamp())
        OR (${IS_LEASED} AND ("workerId" = $1::varchar OR "availableAt" <= statement_timestamp()))
    ) AS "jobs",
    (SELECT count(*)::integer FROM ${t.notificationLog}
      WHERE ${IS_UNDELIVERED}
        AND ("availableAt" <= statement_timestamp() OR "deliveryNumber" % ${String(ROUND)} > "retryCount")
    ) AS "deliveries",
    EXISTS (SELECT FROM ${t.processingState} WHERE "pausedAt" IS NOT NULL) AS "isPaused"`;
