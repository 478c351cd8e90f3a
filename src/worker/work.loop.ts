import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NextClaim } from './claimer.js';
import type { Activity } from './outage.watch.js';

/** The items of a claim, and when to claim again. */
export type ClaimedWork<T> = Pick<NextClaim<T>, 'items' | 'more' | 'lookAgainMs'>;

/** One of the two queues, as the loop sees it. */
export interface WorkQueue<T> {
  readonly concurrency: number;
  readonly pollMs: number;
  /** Claims up to `limit` items. @param woken - whether there is a message that something new is in the queue */
  claim(limit: number, woken: boolean): Promise<ClaimedWork<T>>;
  /**
   * Works on one; never rejects.
   *
   * @param onHandled - is told when there is no more to do than to record the outcome
   */
  run(item: T, onHandled: () => void): Promise<void>;
  /** Handles the items of a claim that ended after the loop was told to stop. Never rejects. */
  giveBack(items: readonly T[]): Promise<void>;
}

/**
 * Keeps up to `concurrency` items of a queue at work. Meanwhile the outcomes of twice as many others may be being
 * recorded, so that the next claim does not wait for two statements that record. When it is idle, it polls with
 * jitter, so that many workers do not poll at the same time, and claims at once when it is woken. When it is busy, it
 * claims as many items as have ended meanwhile.
 */
export class WorkLoop<T> {
  /** The number of items whose outcome is not recorded yet. */
  private running = 0;
  /** The number of those items whose handlers still run. */
  private working = 0;
  private stopping = false;
  private onEnd: () => void = () => {};
  private woken = false;
  /** What can end the present pause before its time is over. */
  private waitsFor: 'work' | 'a place' | 'the database' | 'nothing' = 'nothing';
  private resume: () => void = () => {};
  private loop: Promise<void> = Promise.resolve();

  constructor(
    private readonly queue: WorkQueue<T>,
    private readonly claiming: Activity,
  ) {}

  get size(): number {
    return this.running;
  }

  /** The number of items at work, without those whose outcomes are being recorded. */
  get handling(): number {
    return this.working;
  }

  start(): void {
    this.loop = this.work();
  }

  /** Looks for work at once, unless the database is away. */
  wake(): void {
    this.woken = true;
    if (this.waitsFor === 'work') this.resume();
  }

  /** Stops claiming. @returns when all claimed items have ended */
  async stop(): Promise<void> {
    this.stopping = true;
    this.resume();
    await this.loop;
    while (this.running > 0) await new Promise<void>((resolve) => (this.onEnd = resolve));
  }

  private async work(): Promise<void> {
    while (!this.stopping) {
      const { concurrency } = this.queue;
      const free = Math.min(concurrency - this.working, 3 * concurrency - this.running);
      if (free === 0) {
        await this.pause('a place');
        // Items that ended in the same batch free their places first, so that one claim fills all of these.
        await nextTurn();
      } else {
        await this.fill(free);
      }
    }
  }

  private async fill(free: number): Promise<void> {
    const { woken } = this;
    this.woken = false;
    try {
      const { items, more, lookAgainMs } = await this.queue.claim(free, woken);
      this.claiming.succeeded();
      if (this.stopping) await this.queue.giveBack(items);
      else items.forEach((item) => this.dispatch(item));
      const wokenMeanwhile = this.woken;
      this.woken ||= lookAgainMs !== undefined;
      if (more || wokenMeanwhile) return;
      await this.pause('work', lookAgainMs ?? this.queue.pollMs * (0.5 + Math.random()));
    } catch (error) {
      await this.pause('the database', this.claiming.failed(error));
    }
  }

  private dispatch(item: T): void {
    let handled = false;
    const onHandled = (): void => {
      if (!handled) this.working -= 1;
      handled = true;
      if (this.waitsFor === 'a place') this.resume();
    };
    this.working += 1;
    this.running += 1;
    void this.queue.run(item, onHandled).then(() => {
      this.running -= 1;
      onHandled();
      this.onEnd();
    });
  }

  private pause(waitsFor: typeof this.waitsFor, ms?: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.stopping) return resolve();
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
      this.waitsFor = waitsFor;
      this.resume = () => {
        this.waitsFor = 'nothing';
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
