import { MAX_LIMIT } from '../input/defaults.js';
import type { Tables } from '../schema/tables.js';
import type { SqlRunner } from './sql.runner.js';
import type { Statement } from './statement.js';

/** A row is due from when its statement began, and is seen after its commit: mostly within this time, in ms. */
const LATE_COMMIT_MS = 100;

/** What a claim of a queue took. */
export interface Claimed<T> {
  /** What was claimed, in the order of the queue. */
  readonly items: T[];
  /** How many had no try left, and were failed by this claim. */
  readonly failed: number;
  /**
   * Whether the claim did something, and did not see the end of what is due, so that there may be more. A claim
   * that did nothing would do nothing again at once.
   */
  readonly more: boolean;
  /** Nothing was due before this time, except rows that nobody could see or take just then. */
  readonly dueUntil: Date;
  /** For how long, in ms, each item had been due. */
  readonly waitedMs: readonly number[];
}

/** The first row that the statement of a claim returns. Arrays are in PostgreSQL's text form. */
export interface ClaimRow {
  /** When the statement began. */
  readonly startedAt: Date;
  /** The ids of the rows that it found, in the order of the queue; null if it found none. */
  readonly found: string | null;
  /** For how long each of them had been due, in ms. */
  readonly waited: string | null;
  /** The ids of those that have no try left: it did not claim them. */
  readonly spent: string | null;
}

/** What one statement claimed. */
export interface Step<T> {
  readonly startedAt: Date;
  readonly items: T[];
  readonly waitedMs: number[];
  /** The ids of the rows that have no try left. */
  readonly spent: readonly string[];
  /** How many rows it found. */
  readonly found: number;
  /**
   * For how long, in ms, the last row had been due that the statement dealt with: it claimed that row and each
   * row before it, or names it as spent. undefined if there is no such row.
   */
  readonly lastWaitedMs: number | undefined;
}

const entries = (array: string | null): string[] => (array ? array.slice(1, -1).split(',') : []);

/**
 * Puts the rows of a claim's statement into the order of the queue. PostgreSQL returns them in any order.
 *
 * @param about - the first row
 * @param claimed - the items by their ids
 */
export function toStep<T>(about: ClaimRow, claimed: ReadonlyMap<string, T>): Step<T> {
  const step = { startedAt: about.startedAt, items: [] as T[], waitedMs: [] as number[] };
  const [ids, waited, spent] = [entries(about.found), entries(about.waited), entries(about.spent)];
  const isSpent = new Set(spent);
  let lastWaitedMs: number | undefined;
  let isLeftOut = false;
  for (const [index, id] of ids.entries()) {
    const item = claimed.get(id);
    isLeftOut ||= item === undefined && !isSpent.has(id);
    const waitedMs = Number(waited[index]);
    if (!isLeftOut) lastWaitedMs = waitedMs;
    if (item === undefined) continue;
    step.items.push(item);
    step.waitedMs.push(waitedMs);
  }
  return { ...step, spent, found: ids.length, lastWaitedMs };
}

/** Adds ids to those that were asked for. @returns whether one of them is new */
export function addNew(asked: Set<string>, ids: readonly string[]): boolean {
  const before = asked.size;
  for (const id of ids) asked.add(id);
  return asked.size > before;
}

/**
 * Claims, and goes on while rows without a try left stand in the way. It fails them, and looks at more rows
 * each time: behind thousands of them it takes a few statements, and not one for each. It ends if it meets
 * only such rows as it has tried to fail before: a trigger of the host may prevent that.
 *
 * @param limit - how many to claim at the most. One call claims no more than {@link MAX_LIMIT}
 * @param claim - one statement, which looks at `look` rows, up to {@link MAX_LIMIT}, and claims up to `limit` of them
 * @param fail - fails rows that have no try left; returns how many
 */
export async function claimPastSpent<T>(
  limit: number,
  claim: (limit: number, look: number) => Promise<Step<T>>,
  fail: (spent: readonly string[]) => Promise<number>,
): Promise<Claimed<T>> {
  const items: T[] = [];
  const waitedMs: number[] = [];
  const asked = new Set<string>();
  let failed = 0;
  let dueUntil = new Date(0);
  for (let look = Math.min(limit, MAX_LIMIT); ; look = Math.min(8 * look, MAX_LIMIT)) {
    try {
      const step = await claim(limit - items.length, look);
      items.push(...step.items);
      waitedMs.push(...step.waitedMs);
      const { spent, found, lastWaitedMs } = step;
      if (spent.length > 0) failed += await fail(spent);
      const sawAll = found < look && found === spent.length + step.items.length;
      const startedAt = step.startedAt.getTime();
      const lastDue = lastWaitedMs === undefined ? dueUntil.getTime() : startedAt - lastWaitedMs;
      dueUntil = new Date(sawAll ? Math.max(startedAt - LATE_COMMIT_MS, lastDue) : lastDue);
      if (sawAll || items.length === limit || !addNew(asked, spent)) {
        const more = !sawAll && items.length + failed > 0;
        return { items, failed, more, dueUntil, waitedMs };
      }
    } catch (error) {
      // What is claimed is claimed, and the next claim meets the error again.
      if (items.length === 0) throw error;
      return { items, failed, more: true, dueUntil, waitedMs };
    }
  }
}

/**
 * Fails rows that have no try left.
 *
 * @param statement - $1 the ids, $2 maxAttempts; it returns the "count" of those that it failed
 * @returns this count
 */
export async function failRows(
  db: SqlRunner,
  operation: string,
  statement: (t: Tables) => Statement,
  maxAttempts: number,
  spent: readonly string[],
): Promise<number> {
  const [row] = await db.run<{ count: number }>(operation, statement, [spent, maxAttempts]);
  return row?.count ?? 0;
}
