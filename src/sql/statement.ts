import { createHash } from 'node:crypto';

export { NOW } from '../schema/now.js';

/** An SQL statement, and the name under which a connection keeps its plan. */
export interface Statement {
  readonly name: string;
  readonly text: string;
  /** Whether it may change something. */
  readonly writes: boolean;
  /** The number of the parameter that no log may show. */
  readonly secret?: number;
}

/** Makes a statement of SQL. The name is a hash of the text: two texts can never share a plan. */
export function sql(strings: TemplateStringsArray, ...parts: readonly string[]): Statement {
  const text = String.raw({ raw: strings }, ...parts).trim();
  const name = `ff_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
  return { name, text, writes: /\b(INSERT|UPDATE|DELETE)\b/.test(text) };
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
 * Parameters that are arrays, $1 and following, as a relation with an entry of each in a row. They are
 * read by way of subqueries, because PostgreSQL counts the entries of an array that it sees, finds that
 * a plan for just as many is better than one for ten, and plans each statement anew, which takes longer
 * than to run a small one.
 *
 * @param types - of the arrays' entries
 */
export const arrays = (...types: readonly string[]): string =>
  `unnest(${types.map((type, index) => `(SELECT $${index + 1}::${type}[])`).join(', ')})`;

/**
 * A new id in the order of time: a UUID of version 7, as `uuidV7` makes them, of the statement's time
 * and what is random of one of version 4. PostgreSQL has a function for it from version 18 on.
 */
export const NEW_ID = `(lpad(to_hex((EXTRACT(EPOCH FROM statement_timestamp()) * 1000)::bigint), 12, '0')
      || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid`;

/**
 * A page of a list, newest first, by keyset pagination: a page costs the same however deep it is.
 * $1 is the limit, then come the values of the filters in use, then the time and the id after which
 * the page begins. Each combination is a statement of its own, so that each has the plan that suits it.
 *
 * @param filters - columns and their types, or false for those not in use
 * @param id - the column that orders rows of the same time
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
