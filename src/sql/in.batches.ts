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

/** The rows of a filter: conditions, and the values of their parameters in order. */
export interface Condition {
  readonly values: readonly unknown[];
  /** @param first - the number of the first parameter */
  text(t: Tables, first: number): string;
}

/**
 * Joins conditions. Each has the texts before and after its value. A condition with an undefined value is left
 * out.
 */
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

/** A change of the rows of a table, batch by batch. */
export interface BulkChange {
  readonly operation: string;
  readonly table: (t: Tables) => string;
  /** The key of the table, as in `"jobId"`. */
  readonly key: string;
  /** A condition in SQL: the rows `j` that can be changed. */
  readonly changeable: string;
  readonly filter: Condition;
  /** The values of the parameters of `change`. */
  readonly values: readonly unknown[];
  /**
   * Updates the rows whose keys are in `locked`, as a CTE `changed` with their keys; more CTEs may follow.
   *
   * @param first - the number of its first parameter
   */
  change(t: Tables, first: number): string;
  /** Is called with the keys of the rows that a statement has changed. */
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
 * Changes all rows that a filter finds, the oldest first. Each batch is a separate transaction. A batch passes over
 * locked rows. Then these rows are changed one by one, and this waits for their locks. Rows that are created meanwhile
 * are not changed, so the call ends. If an error interrupts the call, the batches before it are done, and the call can
 * be repeated.
 *
 * @param limit - how many rows to change at most
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

/** Counts the rows that {@link inBatches} would find. */
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
