import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { DeliveryStatus, JobStatus } from '../schema/entities/index.js';
import { IS_LEASED, IS_PENDING, IS_UNDELIVERED } from '../schema/queue.indexes.js';
import { BUCKETS } from './histogram.js';

/** Counts are exact up to this many rows. For more rows, the answer says only that there are more. */
export const EXACT = 10_000;

const bounded = (rows: string): Statement => sql`
  SELECT count(*)::integer AS "count"
  FROM (${rows} LIMIT ${String(EXACT + 1)}) AS counted`;

/**
 * No parameter. Counts the rows of one status. The condition is a range in the order of the index, and not `=`. If
 * most rows have the status, `=` makes the planner read the table, whose first rows may all have another status.
 */
const countOf = (table: string, column: string, status: string): Statement =>
  bounded(`SELECT FROM ${table}
    WHERE "${column}" >= '${status}' AND "${column}" <= '${status}'
    ORDER BY "${column}"`);

/** Makes a statement for each key. The key is a part of the statement's text. */
export const forEach = <Key extends string>(
  keys: readonly Key[],
  statement: (key: Key, t: Tables) => Statement,
): Readonly<Record<Key, (t: Tables) => Statement>> =>
  Object.fromEntries(keys.map((key) => [key, (t: Tables) => statement(key, t)])) as Record<
    Key,
    (t: Tables) => Statement
  >;

/** See {@link countOf}. */
export const countJobs = forEach(Object.values(JobStatus), (status, t) =>
  countOf(t.videoJobs, 'status', status),
);

/** See {@link countOf}. */
export const countNotifications = forEach(Object.values(DeliveryStatus), (status, t) =>
  countOf(t.notificationLog, 'deliveryStatus', status),
);

const due = (table: string, predicate: string): Statement => sql`
  SELECT count(*)::integer AS "count", min(GREATEST("availableAt", 'epoch')) AS "oldest"
  FROM (
    SELECT "availableAt" FROM ${table}
    WHERE ${predicate} AND "availableAt" <= statement_timestamp()
    ORDER BY "availableAt"
    LIMIT ${String(EXACT + 1)}
  ) AS counted`;

/** No parameter. Counts the pending jobs that are due, and says since when the first of them is due. */
export const dueJobs = (t: Tables): Statement => due(t.videoJobs, IS_PENDING);

/** No parameter. Counts the jobs whose leases have ended, and says when the first of them ended. */
export const lostJobs = (t: Tables): Statement => due(t.videoJobs, IS_LEASED);

/** No parameter. Counts the notifications that are due, and says since when the first of them is due. */
export const dueNotifications = (t: Tables): Statement => due(t.notificationLog, IS_UNDELIVERED);

/** No parameter. Returns the state of processing, and the time of the database. */
export const processing = (t: Tables): Statement => sql`
  SELECT statement_timestamp() AS "now", s."pausedAt", s."reason"
  FROM (SELECT) AS one LEFT JOIN ${t.processingState} s ON true`;

/** $1 for how many seconds a worker may be silent. Returns the last report of each worker that is not silent for longer. */
export const workers = (t: Tables): Statement => sql`
  SELECT DISTINCT ON (w."workerId") w."workerId", w."startedAt", w."minute", w."places", w."running"
  FROM (
    SELECT "workerId", "startedAt", "minute", "places", "running"
    FROM ${t.workerReports}
    WHERE "minute" >= statement_timestamp() - make_interval(secs => $1::double precision)
    ORDER BY "minute" DESC
    LIMIT ${String(EXACT)}
  ) AS w
  ORDER BY w."workerId", w."minute" DESC`;

const COUNTS = ['completed', 'failed', 'retried', 'delivered', 'undelivered', 'waitedMs', 'ranMs'];

const histogram = (column: string): string => {
  const buckets = Array.from({ length: BUCKETS }, (_, bucket) => {
    return `COALESCE(sum("${column}"[${bucket + 1}]), 0)`;
  });
  return `to_jsonb(ARRAY[${buckets.join(', ')}]) AS "${column}"`;
};

/** One statement reads at most this many reports. */
export const REPORTS_READ = 20_000;

/**
 * $1 minutes, $2 the length of a step in seconds. Returns the work of all workers in each step, from the reports of
 * these minutes. `"reports"` is the number of reports that were read for the step. If it read
 * {@link REPORTS_READ} reports in all, there may be more.
 */
export const work = (t: Tables): Statement => sql`
  SELECT (floor(EXTRACT(EPOCH FROM "minute") / $2::integer) * $2::integer)::double precision AS "at",
    count(*)::integer AS "reports",
    ${COUNTS.map((name) => `sum("${name}")::double precision AS "${name}"`).join(', ')},
    ${histogram('waitedHistogram')},
    ${histogram('ranHistogram')}
  FROM (
    SELECT "minute", ${COUNTS.map((name) => `"${name}"`).join(', ')}, "waitedHistogram", "ranHistogram"
    FROM ${t.workerReports}
    WHERE "minute" = ANY($1::timestamptz[])
    LIMIT ${String(REPORTS_READ)}
  ) AS r
  GROUP BY 1
  ORDER BY 1`;
