import type { Claimed } from '../sql/claim.js';

/** The time, in ms, after which a claim looks at the whole queue again, unasked. */
const FULL_LOOK_MS = 500;
/** The largest part of the time that is spent on looks at a whole queue. */
const FULL_LOOK_SHARE = 1 / 20;

/** What a claim took, and when to claim again. */
export interface NextClaim<T> extends Omit<Claimed<T>, 'dueUntil'> {
  /** After how many ms, because something that has come in may not have been looked at. */
  readonly lookAgainMs: number | undefined;
}

/**
 * Keeps the work of a claim proportional to what it claims, while a long transaction elsewhere holds
 * back vacuum and the index entries of finished work pile up at the front of the queue: claims begin
 * where the last one ended, which is now when it has seen all that is due. What comes in behind that (a
 * transaction that committed late, a row that was locked) is found by a look at the whole queue: now and then, and when something is known to have come
 * in, as often as that is cheap.
 */
export class Claimer<T> {
  private dueFrom: Date | null = null;
  /** When the next look at the whole queue is due, and from when on it can be afforded. */
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
