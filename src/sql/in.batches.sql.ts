import type { Tables } from '../schema/tables.js';
import type { BulkChange, Condition } from './in.batches.js';
import { sql } from './statement.js';
import type { Statement } from './statement.js';

/** $1 how many rows at most, null for all. Then come the parameters of the filter. */
export const countStatement = (
  t: Tables,
  table: string,
  changeable: string,
  filter: Condition,
): Statement => sql`
  SELECT count(*)::integer AS "count"
  FROM (SELECT FROM ${table} j WHERE ${changeable}${filter.text(t, 2)} LIMIT $1::bigint) AS found`;

/**
 * $1 and $2 `createdAt` and key of the row after which to go on, $3 the time until which rows were created, null for
 * now, $4 how many rows. Then come the parameters of the change and of the filter. Returns one row.
 */
export function batchStatement(
  t: Tables,
  { table, key, changeable, filter, values, change }: BulkChange,
): Statement {
  const meant = `${changeable}${filter.text(t, 5 + values.length)}`;
  return sql`
  WITH candidate AS MATERIALIZED (
    SELECT j.${key}, j."createdAt"
    FROM ${table(t)} j
    WHERE ${meant}
      AND (j."createdAt", j.${key}) > ($1::timestamptz, $2::uuid)
      AND j."createdAt" <= COALESCE($3::timestamptz, statement_timestamp())
    ORDER BY j."createdAt", j.${key}
    LIMIT $4::bigint
  ), locked AS MATERIALIZED (
    SELECT j.${key}
    FROM candidate c JOIN ${table(t)} j ON j.${key} = c.${key}
    WHERE ${meant}
    FOR NO KEY UPDATE OF j SKIP LOCKED
  ), ${change(t, 5)}
  SELECT statement_timestamp() AS "now",
    (SELECT count(*)::integer FROM candidate) AS "matched",
    (SELECT COALESCE(jsonb_agg(${key}), '[]') FROM changed) AS "keys",
    (SELECT COALESCE(jsonb_agg(${key}), '[]') FROM candidate
      WHERE ${key} NOT IN (SELECT ${key} FROM changed)) AS "passedOver",
    last."createdAt", last.${key} AS "last"
  FROM (SELECT) AS one
  LEFT JOIN (
    SELECT * FROM candidate ORDER BY "createdAt" DESC, ${key} DESC LIMIT 1
  ) AS last ON true`;
}

/**
 * $1 the key of the row. Then come the parameters of the change and of the filter. Returns a row if it was
 * changed.
 */
export const singleStatement = (
  t: Tables,
  { table, key, changeable, filter, values, change }: BulkChange,
): Statement => sql`
  WITH locked AS MATERIALIZED (
    SELECT j.${key}
    FROM ${table(t)} j
    WHERE j.${key} = $1::uuid AND ${changeable}${filter.text(t, 2 + values.length)}
    FOR NO KEY UPDATE
  ), ${change(t, 2)}
  SELECT ${key} AS "key" FROM changed`;
