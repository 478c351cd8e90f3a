/** How long, in ms, what was read is shown to others: shorter than the pages wait between two reads. */
const FRESH_MS = 2_000;
/** How many different reads are kept. */
const MAX_KEPT = 200;

/**
 * Reads that requests share: who asks for the same within two seconds gets the same answer, or waits for the
 * one that is under way. Ten open tabs cost the database as much as one.
 */
export class SharedReads {
  private readonly kept = new Map<string, { at: number; value: Promise<unknown> }>();

  /** @param freshMs - how long an answer is shown to others */
  constructor(private readonly freshMs = FRESH_MS) {}

  /** @param key - says what is read, with all of its filters */
  get<T>(key: string, read: () => Promise<T>, freshMs = this.freshMs): Promise<T> {
    const found = this.kept.get(key);
    if (found !== undefined && performance.now() - found.at < freshMs) {
      return found.value as Promise<T>;
    }
    const entry = { at: Infinity, value: read() };
    // Fresh from when it is there, and never old while it is under way.
    const done = (): void => void (entry.at = performance.now());
    entry.value.then(done, done);
    this.kept.delete(key);
    this.kept.set(key, entry);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= MAX_KEPT) break;
      this.kept.delete(oldest);
    }
    return entry.value as Promise<T>;
  }

  /** Something was changed: the next read is a new one. */
  clear(): void {
    this.kept.clear();
  }
}
