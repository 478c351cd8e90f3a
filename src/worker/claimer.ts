import type { Claimed } from '../sql/claim.js';

/** The time, in ms, after which a claim looks at the whole queue again without a wake-up. */
const FULL_LOOK_MS = 500;
/** The largest share of the time for looks at the whole queue. */
const FULL_LOOK_SHARE = 1 / 20;

/** The result of a claim, and when to claim again. */
export interface NextClaim<T> extends Omit<Claimed<T>, 'dueUntil'> {
  /** After how many ms to claim again, because new rows may have been missed. */
  readonly lookAgainMs: number | undefined;
}

/**
 * Keeps the work of a claim proportional to the rows that it claims. A long transaction elsewhere may hold back
 * vacuum, so that the index entries of finished work pile up at the front of the queue. So a claim begins where the
 * last one ended, or at the present time if that one has seen all due rows. Rows before that point (a transaction that
 * committed late, a row that was locked) are found by a look at the whole queue. Such a look happens now and then, and
 * after a wake-up, as often as it is cheap enough.
 */
export class Claimer<T> {
  private dueFrom: Date | null = null;
  /** When the next look at the whole queue is due, and when it is cheap enough again. */
  private nextFullLook = 0;
  private affordable = 0;

  /** @param claim - claims up to `limit` rows that are due from a time on, or of all that are due */
  constructor(
    private readonly claim: (limit: number, dueFrom: Date | null) => Promise<Claimed<T>>,
  ) {}

  /** @param woken - whether something is known to have come in */
  async next(limit: number, woken: boolean): Promise<NextClaim<T>> {
    const start = performance.now();
    const full = start >= (woken ? this.affordable : this.nextFullLook);
    const claimed = await this.claim(limit, full ? null : this.dueFrom);
    const end = performance.now();
    if (full) {
      this.affordable = end + (end - start) / FULL_LOOK_SHARE;
      this.nextFullLook = Math.max(end + FULL_LOOK_MS, this.affordable);
    }
    if (full || this.dueFrom === null || claimed.dueUntil > this.dueFrom) {
      this.dueFrom = claimed.dueUntil;
    }
    const lookAgainMs = woken && !full ? Math.max(this.affordable - end, 1) : undefined;
    return { ...claimed, lookAgainMs };
  }
}
