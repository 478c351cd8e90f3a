/** What a claim of a queue found, and until when that was due. */
interface Found {
  /** How many rows there were. */
  readonly found: number;
  /** The latest time at which one of them was due; null when there was none. */
  readonly dueUntil: Date | null;
}

/** The time, in ms, after which a claim looks at the whole queue again, unasked. */
const FULL_LOOK_MS = 500;
/** The largest part of the time that is spent on looks at a whole queue. */
const FULL_LOOK_SHARE = 1 / 20;

/**
 * Keeps the work of a claim proportional to what it claims, while a long transaction elsewhere holds
 * back vacuum and the index entries of finished work pile up at the front of the queue: claims begin
 * where the last one ended. What comes in behind that (a transaction that committed late, a row that was
 * locked) is found by a look at the whole queue: now and then, and when something is known to have come
 * in, as often as that is cheap.
 */
export class Claimer<F extends Found> {
  private dueFrom: Date | null = null;
  /** When the next look at the whole queue is due, and from when on it can be afforded. */
  private nextFullLook = 0;
  private affordable = 0;

  /** @param claim - claims up to `limit` rows that are due from a time on, or all of them */
  constructor(private readonly claim: (limit: number, dueFrom: Date | null) => Promise<F>) {}

  /**
   * @param woken - whether something is known to have come in
   * @returns what was found, and after how many ms to claim again, because something that has come in
   *   may not have been looked at
   */
  async next(limit: number, woken: boolean): Promise<F & { lookAgainMs: number | undefined }> {
    const start = performance.now();
    const full = start >= (woken ? this.affordable : this.nextFullLook);
    const found = await this.claim(limit, full ? null : this.dueFrom);
    const end = performance.now();
    if (full) {
      this.affordable = end + (end - start) / FULL_LOOK_SHARE;
      this.nextFullLook = Math.max(end + FULL_LOOK_MS, this.affordable);
    }
    // A full look that found its fill may have left more behind: the next claims go on from there.
    const back = full && found.found >= limit;
    if (
      found.dueUntil !== null &&
      (back || this.dueFrom === null || found.dueUntil > this.dueFrom)
    ) {
      this.dueFrom = found.dueUntil;
    }
    const lookAgainMs = woken && !full ? Math.max(this.affordable - end, 1) : undefined;
    return { ...found, lookAgainMs };
  }
}
