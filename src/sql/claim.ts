import { MAX_LIMIT } from '../input/defaults.js';

/** A row is due from when its statement began, and is seen after its commit: mostly within this time, in ms. */
const LATE_COMMIT_MS = 100;

/** What a claim of a queue took. */
export interface Claimed<T> {
  /** What was claimed, as it waited. */
  readonly items: T[];
  /** How many had no try left, and ended in this claim. */
  readonly failed: number;
  /** It did not see the end of what is due: there may be more. */
  readonly more: boolean;
  /** What was due before this time was looked at, but for what nobody could see or take just then. */
  readonly dueUntil: Date;
  /** For how long, in ms, each of them had been due, where the queue tells. */
  readonly waitedMs: readonly number[];
}

/** The first row that a claim's statement returns. */
export interface ClaimRow {
  /** How many rows were looked at. */
  readonly found: number;
  readonly failed: number;
  /** The latest time at which one of those that it took was due; null when it took none. */
  readonly lastDue: Date | null;
  /** For how long those that were claimed had been due, in ms, as an array of PostgreSQL. */
  readonly waited?: string | null;
  /** When the statement began. */
  readonly startedAt: Date;
}

/** For how long what a statement claimed had been due, in ms. */
export const waitedOf = ({ waited }: Pick<ClaimRow, 'waited'>): number[] =>
  waited ? waited.slice(1, -1).split(',').map(Number) : [];

/**
 * Claims, and goes on while rows without a try left stood in the way, looking at more each time: behind
 * thousands of these it takes a handful of statements, and not one for each.
 *
 * @param limit - how many to claim at the most
 * @param claim - one statement, which claims up to `limit` of as many rows as it looks at; the row about
 *   it, and what it claimed
 */
export async function claimPastFailed<T>(
  limit: number,
  claim: (limit: number, look: number) => Promise<readonly [ClaimRow, T[]]>,
): Promise<Claimed<T>> {
  const items: T[] = [];
  const waitedMs: number[] = [];
  let failed = 0;
  let dueUntil = new Date(0);
  for (let look = limit; ; look = Math.min(4 * look, MAX_LIMIT)) {
    try {
      const [row, claimed] = await claim(limit - items.length, look);
      items.push(...claimed);
      waitedMs.push(...waitedOf(row));
      failed += row.failed;
      const sawAll = row.found < look && row.found === row.failed + claimed.length;
      const before = row.startedAt.getTime() - LATE_COMMIT_MS;
      const lastDue = row.lastDue ?? dueUntil;
      dueUntil = sawAll ? new Date(Math.max(before, lastDue.getTime())) : lastDue;
      if (sawAll || row.failed === 0 || items.length === limit) {
        return { items, failed, more: !sawAll, dueUntil, waitedMs };
      }
    } catch (error) {
      // What is claimed is claimed, and the next claim meets the error again.
      if (items.length === 0) throw error;
      return { items, failed, more: true, dueUntil, waitedMs };
    }
  }
}
