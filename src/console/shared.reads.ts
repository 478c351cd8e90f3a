/** How long a result is shared, in ms. */
const FRESH_MS = 2_000;
/** How long the error of a failed read is shared, in ms. It is short, because the next read may succeed. */
const FAILED_MS = 1_000;
/** For how long later requests join a running read, in ms. */
const PATIENCE_MS = 60_000;
/** How many different reads are kept at most. */
const MAX_KEPT = 200;

/**
 * Shares reads between requests. A request for the same data soon after gets the same answer, or waits for the
 * running read. So ten open tabs cost the database as much as one tab.
 */
export class SharedReads {
  private readonly kept = new Map<string, { until: number; value: Promise<unknown> }>();

  /** @param freshMs - how long an answer is shared, in ms */
  constructor(private readonly freshMs = FRESH_MS) {}

  /** @param key - a text that names the data and all filters */
  get<T>(key: string, read: () => Promise<T>, freshMs = this.freshMs): Promise<T> {
    const found = this.kept.get(key);
    if (found !== undefined && performance.now() < found.until) {
      return found.value as Promise<T>;
    }
    const value = read();
    const entry = { until: performance.now() + PATIENCE_MS, value };
    // The time counts from the moment when the answer is there.
    const keep = (ms: number) => (): void => void (entry.until = performance.now() + ms);
    entry.value.then(keep(freshMs), keep(Math.min(FAILED_MS, freshMs)));
    this.kept.delete(key);
    this.kept.set(key, entry);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= MAX_KEPT) break;
      this.kept.delete(oldest);
    }
    return value;
  }

  /** Forgets all results, because something was changed. */
  clear(): void {
    this.kept.clear();
  }
}
