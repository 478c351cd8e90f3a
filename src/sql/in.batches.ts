import type { Tables } from '../schema/tables.js';
import { batchStatement, countStatement, singleStatement } from './in.batches.sql.js';
import type { SqlRunner } from './sql.runner.js';
import type { Statement } from './statement.js';

/** The result of a bulk change. */
export interface BulkOutcome {
  /** How many rows matched the filter. */
  readonly matched: number;
  /** How many of them this call changed. Another process changed the others meanwhile. */
  readonly changed: number;
}

/** Which rows are meant: conditions, and the values of their parameters, in order. */
export interface Condition {
  readonly values: readonly unknown[];
  /** @param first - the number of the first parameter */
  text(t: Tables, first: number): string;
}

/** Joins conditions, of each the parts between which its value stands; left out where it is undefined. */
export function conditions(
  parts: readonly (readonly [
    before: string | ((t: Tables) => string),
    value: unknown,
    after?: string,
  ])[],
): Condition {
  const used = parts.filter(([, value]) => value !== undefined);
  return {
    values: used.map(([, value]) => (value instanceof Date ? value.toISOString() : value)),
    text: (t, first) =>
      used
        .map(([before, , after = ''], at) => {
          const start = typeof before === 'string' ? before : before(t);
          return ` AND ${start}$${first + at}${after}`;
        })
        .join(''),
  };
}

/** How rows of a table are changed, a batch at a time. */
export interface BulkChange {
  readonly operation: string;
  readonly table: (t: Tables) => string;
  /** The key of the table, as in `"jobId"`. */
  readonly key: string;
  /** Which rows `j` can be changed at all, as SQL. */
  readonly changeable: string;
  readonly filter: Condition;
  /** The values of the parameters that `change` has. */
  readonly values: readonly unknown[];
  /**
   * Updates the rows whose keys are in `locked`, as a CTE `changed` with their keys; more CTEs may follow.
   *
   * @param first - the number of its first parameter
   */
  change(t: Tables, first: number): string;
  /** Is told the keys of what a statement has changed. */
  onChanged?(keys: readonly string[]): void;
}

interface Batch {
  readonly matched: number;
  readonly keys: string[];
  readonly passedOver: string[];
  readonly now: Date;
  readonly createdAt: Date | null;
  readonly last: string | null;
}

const BATCH = 1_000;
const NO_ID = '00000000-0000-0000-0000-000000000000';

/**
 * Changes all rows that a filter finds, the oldest first, in batches that are transactions of their own. A
 * batch waits for nobody's lock; the rows that it passed over are then changed one by one, and those are
 * waited for. Rows that are created meanwhile are left alone, so that it comes to an end. What an error
 * interrupts is done up to there, and can be called again.
 *
 * @param limit - how many rows at the most
 */
export async function inBatches(
  db: SqlRunner,
  change: BulkChange,
  limit = Infinity,
): Promise<BulkOutcome> {
  const batch = (t: Tables): Statement => batchStatement(t, change);
  const single = (t: Tables): Statement => singleStatement(t, change);
  const more = [...change.values, ...change.filter.values];
  const { operation } = change;
  let [matched, changed] = [0, 0];
  let after: unknown[] = ['-infinity', NO_ID, null];
  while (matched < limit) {
    const size = Math.min(BATCH, limit - matched);
    const [row] = await db.run<Batch>(operation, batch, [...after, size, ...more]);
    if (row === undefined || row.createdAt === null) break;
    change.onChanged?.(row.keys);
    matched += row.matched;
    changed += row.keys.length;
    for (const key of row.passedOver) {
      const done = await db.run<{ key: string }>(operation, single, [key, ...more]);
      change.onChanged?.(done.map((one) => one.key));
      changed += done.length;
    }
    if (row.matched < size) break;
    after = [row.createdAt.toISOString(), row.last, after[2] ?? row.now.toISOString()];
  }
  return { matched, changed };
}

/** Counts what {@link inBatches} would find. */
export async function countMatched(
  db: SqlRunner,
  { operation, table, changeable, filter }: BulkChange,
  limit?: number,
): Promise<BulkOutcome> {
  const count = (t: Tables): Statement => countStatement(t, table(t), changeable, filter);
  const [row] = await db.run<{ count: number }>(operation, count, [
    limit ?? null,
    ...filter.values,
  ]);
  return { matched: row?.count ?? 0, changed: 0 };
}
