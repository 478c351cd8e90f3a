import { MAX_LIMIT } from '../input/defaults.js';

/** What a claim of a queue took. */
export interface Claimed<T> {
  /** What was claimed, as it waited. */
  readonly items: T[];
  /** How many had no try left, and ended in this claim. */
  readonly failed: number;
  /** It did not see the end of what is due: there may be more. */
  readonly more: boolean;
  /** The latest time at which one of those that it took was due; null when it took none. */
  readonly dueUntil: Date | null;
}

/** The first row that a claim's statement returns. */
export interface ClaimRow {
  /** How many rows were looked at. */
  readonly found: number;
  readonly failed: number;
  readonly dueUntil: Date | null;
}

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
  let failed = 0;
  let dueUntil: Date | null = null;
  for (let look = limit; ; look = Math.min(4 * look, MAX_LIMIT)) {
    try {
      const [row, claimed] = await claim(limit - items.length, look);
      items.push(...claimed);
      failed += row.failed;
      if (dueUntil === null || (row.dueUntil ?? 0) > dueUntil) dueUntil = row.dueUntil;
      const seenAll = row.found < look;
      if (seenAll || row.failed === 0 || items.length === limit) {
        return { items, failed, more: !seenAll || items.length === limit, dueUntil };
      }
    } catch (error) {
      // What is claimed is claimed, and the next claim meets the error again.
      if (items.length === 0) throw error;
      return { items, failed, more: true, dueUntil };
    }
  }
}
