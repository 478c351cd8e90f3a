import { array, assert, constantFrom, double, property } from 'fast-check';
import { BUCKETS, bucketOf, percentile } from '../../src/statistics/histogram.js';

it('puts a time into its bucket, which begins at a power of two', () => {
  expect([0, 0.9, 1, 1.9, 2, 3.9, 4, 1_000, 2 ** 31, 2 ** 60].map(bucketOf)).toEqual([
    0,
    0,
    1,
    1,
    2,
    2,
    3,
    10,
    BUCKETS - 1,
    BUCKETS - 1,
  ]);
  expect([-1, NaN].map(bucketOf)).toEqual([0, 0]);
});

it('has no percentile without values', () => {
  expect(percentile([], 0.5)).toBeNull();
  expect(percentile([0, 0], 0.95)).toBeNull();
});

it('returns a percentile from the bucket of the exact one', () => {
  const times = array(double({ min: 1, max: 2 ** 30, noNaN: true }), { minLength: 1 });
  assert(
    property(times, constantFrom(0.5, 0.95), (all, share) => {
      const histogram: number[] = Array.from({ length: BUCKETS }, () => 0);
      for (const ms of all) histogram[bucketOf(ms)]! += 1;
      const sorted = all.toSorted((a, b) => a - b);
      const exact = sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)] ?? 0;
      const found = percentile(histogram, share) ?? 0;
      expect(found).toBeGreaterThanOrEqual(2 ** (bucketOf(exact) - 1));
      expect(found).toBeLessThanOrEqual(2 ** bucketOf(exact));
    }),
  );
});
