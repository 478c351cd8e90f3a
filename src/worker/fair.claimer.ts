import type { ClaimedInTurn } from '../jobs/fair.claiming.js';
import type { VideoJob } from '../schema/entities/index.js';
import type { Claimer, NextClaim } from './claimer.js';

/** How long, in ms, the search of a claim in turn may take. Above it, it passes over dead index entries. */
const LONG_SEARCH_MS = 20;
/** How many searches in a row must take longer. A single one may be slow because the processor is busy. */
const LONG_SEARCHES = 2;
/** The largest share of the time for searches that take longer. */
const LONG_SEARCH_SHARE = 1 / 20;
/** The first wait, in ms, before a claim looks again at users for whom another claim was running. */
const PASSED_OVER_MS = 10;
/** The longest such wait, in ms. Each wait is twice as long as the one before. */
const LONGEST_PASSED_OVER_MS = 640;

/**
 * Claims pending jobs of one user after the other. While a long transaction elsewhere holds back vacuum, the
 * index entries of finished work pile up in front of each user's jobs: Then it claims by age, which has a lower bound,
 * and tests now and then whether this state is over.
 */
export class FairClaimer implements Pick<Claimer<VideoJob>, 'next'> {
  private nextTurn = 0;
  private longSearches = 0;
  private passedOverMs = PASSED_OVER_MS;

  /**
   * @param claimInTurn - claims up to `limit` jobs
   * @param byAge - claims by age; undefined if the worker must never claim by age
   */
  constructor(
    private readonly claimInTurn: (limit: number) => Promise<ClaimedInTurn>,
    private readonly byAge: Claimer<VideoJob> | undefined,
  ) {}

  async next(limit: number, woken: boolean): Promise<NextClaim<VideoJob>> {
    if (this.byAge !== undefined && performance.now() < this.nextTurn) {
      return this.byAge.next(limit, woken);
    }
    const { searchMs, passedOver, ...claimed } = await this.claimInTurn(limit);
    this.longSearches = searchMs > LONG_SEARCH_MS ? this.longSearches + 1 : 0;
    if (this.longSearches >= LONG_SEARCHES) {
      this.nextTurn = performance.now() + searchMs / LONG_SEARCH_SHARE;
    }
    const lookAgainMs = passedOver ? this.passedOverMs : undefined;
    const isInVain = passedOver && claimed.items.length === 0;
    this.passedOverMs = isInVain
      ? Math.min(2 * this.passedOverMs, LONGEST_PASSED_OVER_MS)
      : PASSED_OVER_MS;
    return { ...claimed, lookAgainMs };
  }
}
