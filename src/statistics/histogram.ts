/** The number of buckets. The last one begins at 2^31 ms, which is 25 days. */
export const BUCKETS = 33;

/**
 * The number of the bucket of a time, from 0 on. The first bucket is for less than one millisecond. Each other
 * bucket begins at a power of two, and is twice as wide as the bucket before.
 */
export function bucketOf(ms: number): number {
  if (!(ms >= 1)) return 0;
  return Math.min(Math.floor(Math.log2(ms)) + 1, BUCKETS - 1);
}

/**
 * A percentile of the times in a histogram, in ms. It assumes that the times of a bucket are spread evenly on a
 * logarithmic scale. The answer is at most half larger, or a third smaller, than the true percentile.
 *
 * @param share - 0.5 for the median, 0.95 for the 95th percentile
 * @returns null if the histogram has no times
 */
export function percentile(histogram: readonly number[], share: number): number | null {
  const total = histogram.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = share * total;
  for (const [bucket, count] of histogram.entries()) {
    if (count > 0 && left <= count) {
      const within = left / count;
      return bucket === 0 ? within : 2 ** (bucket - 1 + within);
    }
    left -= count;
  }
  return 2 ** (histogram.length - 1);
}
