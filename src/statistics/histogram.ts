/** How many buckets there are: the last one begins at 2^31 ms, which is 25 days. */
export const BUCKETS = 33;

/**
 * The bucket of a time, from 0 on. The first is for less than one millisecond; each other begins at a
 * power of two, and is twice as wide as the one before.
 */
export function bucketOf(ms: number): number {
  if (!(ms >= 1)) return 0;
  return Math.min(Math.floor(Math.log2(ms)) + 1, BUCKETS - 1);
}

/**
 * A percentile of the times in a histogram, in ms. Within a bucket, times are taken to be spread evenly on
 * a scale of powers: the answer is at most half as large again, or a third less, than the true one.
 *
 * @param share - 0.5 for the median, 0.95 for the 95th percentile
 * @returns null when there is none
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
