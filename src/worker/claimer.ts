/** What a claim of a queue found, and until when that was due. */
interface Found {
  /** How many rows there were. */
  readonly found: number;
  /** The latest time at which one of them was due; null when there was none. */
  readonly dueUntil: Date | null;
}

/** The least time between two looks at a whole queue, in ms. */
const FULL_LOOK_MS = 500;
/** The largest part of the time that is spent on looks at a whole queue. */
const FULL_LOOK_SHARE = 1 / 20;

/**
 * Keeps the work of a claim proportional to what it claims, while a long transaction elsewhere holds
 * back vacuum and the index entries of finished work pile up at the front of the queue: claims begin
 * where the last one ended. What comes in behind that (a transaction that committed late, a row that was
 * locked) is found by a look at the whole queue, as often as that is cheap.
 */
export class Claimer<F extends Found> {
  private dueFrom: Date | null = null;
  private nextFullLook = 0;

  /** @param claim - claims up to `limit` rows that are due from a time on, or all of them */
  constructor(private readonly claim: (limit: number, dueFrom: Date | null) => Promise<F>) {}

  async next(limit: number): Promise<F> {
    const start = performance.now();
    const full = start >= this.nextFullLook;
    const found = await this.claim(limit, full ? null : this.dueFrom);
    if (full) {
      const now = performance.now();
      this.nextFullLook = now + Math.max(FULL_LOOK_MS, (now - start) / FULL_LOOK_SHARE);
    }
    // A full look that found its fill may have left more behind: the next claims go on from there.
    const back = full && found.found >= limit;
    if (
      found.dueUntil !== null &&
      (back || this.dueFrom === null || found.dueUntil > this.dueFrom)
    ) {
      this.dueFrom = found.dueUntil;
    }
    return found;
  }
}
