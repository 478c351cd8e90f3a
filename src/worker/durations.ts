import { BUCKETS, bucketOf } from '../statistics/histogram.js';

/** Measured times: their sum, and a histogram. */
export class Durations {
  sumMs = 0;
  private counts: number[] = [];

  record(ms: number): void {
    const bucket = bucketOf(ms);
    while (this.counts.length <= bucket) this.counts.push(0);
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.sumMs += Math.max(ms, 0);
  }

  /** Adds the times of another one. */
  add(other: Durations): void {
    this.sumMs += other.sumMs;
    const { length } = this.counts.length > other.counts.length ? this.counts : other.counts;
    this.counts = Array.from({ length: Math.min(length, BUCKETS) }, (_, bucket) => {
      return (this.counts[bucket] ?? 0) + (other.counts[bucket] ?? 0);
    });
  }

  get histogram(): readonly number[] {
    return this.counts;
  }

  /** The times that were recorded since the last call. */
  take(): Durations {
    const taken = new Durations();
    taken.add(this);
    this.sumMs = 0;
    this.counts = [];
    return taken;
  }
}
