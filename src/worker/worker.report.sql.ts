import { NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';

/** No parameter. Returns the time of the database. */
export const databaseTime = (): Statement => sql`SELECT ${NOW} AS "now"`;

/** The columns of a report besides its key, and their types. */
const FIGURES = {
  places: 'integer',
  running: 'integer',
  completed: 'integer',
  failed: 'integer',
  retried: 'integer',
  delivered: 'integer',
  undelivered: 'integer',
  waitedMs: 'double precision',
  waitedHistogram: 'integer[]',
  ranMs: 'double precision',
  ranHistogram: 'integer[]',
};
const names = Object.keys(FIGURES).map((name) => `"${name}"`);

/**
 * $1 workerId, $2 when the worker started, $3 the reports of some minutes, as JSON. A report
 * replaces the earlier report of its minute, so a report whose reply was lost can be sent again.
 */
export const writeReports = (t: Tables): Statement => sql`
  INSERT INTO ${t.workerReports} ("workerId", "startedAt", "minute", ${names.join(', ')})
  SELECT $1::varchar, $2::timestamptz, r."minute", ${names.map((name) => `r.${name}`).join(', ')}
  FROM jsonb_to_recordset($3::jsonb) AS r("minute" timestamptz, ${Object.entries(FIGURES)
    .map(([name, type]) => `"${name}" ${type}`)
    .join(', ')})
  ON CONFLICT ("workerId", "minute") DO UPDATE SET
    ${names.map((name) => `${name} = EXCLUDED.${name}`).join(',\n    ')}
  RETURNING ${NOW} AS "now"`;

/** $1 how many days reports are kept, $2 how many to remove at most. Returns a row for each removed report. */
export const removeOldReports = (t: Tables): Statement => sql`
  DELETE FROM ${t.workerReports}
  WHERE ("workerId", "minute") IN (
    SELECT "workerId", "minute"
    FROM ${t.workerReports}
    WHERE "minute" < statement_timestamp() - make_interval(days => $1::integer)
    ORDER BY "minute"
    LIMIT $2::integer
    FOR UPDATE SKIP LOCKED)
  RETURNING 1`;
