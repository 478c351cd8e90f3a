import { setImmediate as nextTurn } from 'node:timers/promises';
import type { OutageWatch } from './outage.watch.js';

/** One of the two queues, as a loop sees it. */
export interface WorkQueue<T> {
  readonly concurrency: number;
  readonly pollMs: number;
  /** Claims up to `limit` items. */
  claim(limit: number): Promise<T[]>;
  /** Works on one; never rejects. */
  run(item: T): Promise<void>;
  /** Gives back what was claimed while the loop was told to stop. */
  giveBack(item: T): Promise<void>;
}

/**
 * Keeps up to `concurrency` items of a queue at work. Idle, it polls, with jitter so that many workers
 * spread out, or claims at once when it is woken. Busy, it claims as many as have ended meanwhile.
 */
export class WorkLoop<T> {
  private readonly running = new Set<Promise<void>>();
  private stopping = false;
  private woken = false;
  private wakeUp: () => void = () => {};
  private loop: Promise<void> = Promise.resolve();

  constructor(
    private readonly queue: WorkQueue<T>,
    private readonly outage: OutageWatch,
  ) {}

  get size(): number {
    return this.running.size;
  }

  start(): void {
    this.loop = this.work();
  }

  /** Looks for work at once. */
  wake(): void {
    this.woken = true;
    this.wakeUp();
  }

  /** Claims nothing more. @returns when all that was claimed has ended */
  async stop(): Promise<void> {
    this.stopping = true;
    this.wakeUp();
    await this.loop;
    await Promise.all(this.running);
  }

  private async work(): Promise<void> {
    while (!this.stopping) {
      const free = this.queue.concurrency - this.running.size;
      if (free === 0) {
        await Promise.race(this.running);
        // What ended in the same batch frees its places first: one claim then fills them all.
        await nextTurn();
      } else {
        const wait = await this.fill(free);
        if (wait > 0 && !this.woken && !this.stopping) await this.pause(wait);
      }
    }
  }

  /** @returns how long to wait before the next claim, in ms */
  private async fill(free: number): Promise<number> {
    this.woken = false;
    try {
      const items = await this.queue.claim(free);
      this.outage.succeeded();
      if (this.stopping) await Promise.all(items.map((item) => this.queue.giveBack(item)));
      else items.forEach((item) => this.dispatch(item));
      return items.length === free ? 0 : this.queue.pollMs * (0.5 + Math.random());
    } catch (error) {
      return this.outage.failed(error);
    }
  }

  private dispatch(item: T): void {
    const run = this.queue.run(item).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
