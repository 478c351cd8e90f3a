import { createHash } from 'node:crypto';
import { arrayParametersOf } from './binary.arrays.js';
import type { ArrayParameters } from './binary.arrays.js';

export { NOW } from '../schema/now.js';

/** An SQL statement, and the name under which a connection keeps its plan. */
export interface Statement {
  readonly name: string;
  readonly text: string;
  /** Whether it may change something. */
  readonly writes: boolean;
  /** The parameters that are sent in the binary format. */
  readonly arrays: ArrayParameters;
  /** The number of the parameter that no log may show. */
  readonly secret?: number;
}

/** Makes a statement from SQL. Its name is a hash of the text, so two texts can never share a plan. */
export function sql(strings: TemplateStringsArray, ...parts: readonly string[]): Statement {
  const text = String.raw({ raw: strings }, ...parts).trim();
  const name = `ff_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
  return {
    name,
    text,
    writes: /\b(INSERT|UPDATE|DELETE)\b/.test(text),
    arrays: arrayParametersOf(text),
  };
}

/**
 * Lists columns. Statements name them, because `RETURNING *` in a prepared statement breaks when a
 * later migration adds one.
 *
 * @param alias - the table's alias
 * @param prefix - put before each name in the result, to tell two tables' columns apart
 */
export function columns(names: readonly string[], alias: string, prefix = ''): string {
  return names
    .map((name) => `${alias}."${name}"` + (prefix === '' ? '' : ` AS "${prefix}${name}"`))
    .join(', ');
}

/**
 * SQL that reads the parameters from $1 on, which are arrays, as rows with one entry of each array. The arrays stand
 * in subqueries. Otherwise PostgreSQL would count their entries, prefer a plan for exactly that number over its kept
 * plan, and plan each statement again. That takes longer than to run a small statement.
 *
 * @param types - of the arrays' entries
 */
export const arrays = (...types: readonly string[]): string =>
  `unnest(${types.map((type, index) => `(SELECT $${index + 1}::${type}[])`).join(', ')})`;

/**
 * SQL for a new id in the order of time: a UUID of version 7, as `uuidV7` makes it. It has the time of the statement
 * and the random bits of a UUID of version 4. PostgreSQL has a function for this only since version 18.
 */
export const NEW_ID = `(lpad(to_hex((EXTRACT(EPOCH FROM statement_timestamp()) * 1000)::bigint), 12, '0')
      || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid`;

/**
 * The statement for a page of a list, newest first, by keyset pagination. A late page costs as much as the first one.
 * $1 is the limit, then come the values of the filters in use, then the time and the id after which
 * the page begins. Each combination of filters is a separate statement, so that each has a suitable plan.
 *
 * @param filters - columns and their types; false for a filter that is not in use
 * @param id - the column that orders rows with the same time
 */
export function page(
  select: string,
  filters: Readonly<Record<string, string | false>>,
  id: string,
  after: boolean,
): Statement {
  const createdAt = id.replace(/"\w+"$/, '"createdAt"');
  const used = Object.entries(filters).filter(([, type]) => type !== false);
  const conditions = used.map(([column, type], index) => `${column} = $${index + 2}::${type}`);
  if (after) {
    const [time, last] = [used.length + 2, used.length + 3];
    conditions.push(`(${createdAt}, ${id}) < ($${time}::timestamptz, $${last}::uuid)`);
  }
  return sql`
  ${select}
  ${conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : ''}
  ORDER BY ${createdAt} DESC, ${id} DESC
  LIMIT $1::integer`;
}
