/** How long, in ms, what was read is shown to others. */
const FRESH_MS = 2_000;
/** How long, in ms, a read that failed is the answer to others: the next one may succeed. */
const FAILED_MS = 1_000;
/** How long, in ms, a read is waited for by those who come while it is under way. */
const PATIENCE_MS = 60_000;
/** How many different reads are kept. */
const MAX_KEPT = 200;

/** What was read, and when. */
export interface ReadAt<T> {
  /** When the read began: what came later is not in it for sure. */
  readonly at: Date;
  readonly data: T;
}

/**
 * Reads that requests share: who asks for the same soon after gets the same answer, or waits for the one that
 * is under way. Ten open tabs cost the database as much as one.
 */
export class SharedReads {
  private readonly kept = new Map<string, { until: number; value: Promise<ReadAt<unknown>> }>();

  /** @param freshMs - how long an answer is shown to others */
  constructor(private readonly freshMs = FRESH_MS) {}

  /** @param key - says what is read, with all of its filters */
  get<T>(key: string, read: () => Promise<T>, freshMs = this.freshMs): Promise<ReadAt<T>> {
    const found = this.kept.get(key);
    if (found !== undefined && performance.now() < found.until) {
      return found.value as Promise<ReadAt<T>>;
    }
    const at = new Date();
    const value = read().then((data) => ({ at, data }));
    const entry = { until: performance.now() + PATIENCE_MS, value };
    // Fresh from when it is there.
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

  /** Something was changed: the next read is a new one. */
  clear(): void {
    this.kept.clear();
  }
}
