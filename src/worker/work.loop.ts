import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NextClaim } from './claimer.js';
import type { Activity } from './outage.watch.js';

/** What a claim brought, and when to claim again. */
export type ClaimedWork<T> = Pick<NextClaim<T>, 'items' | 'more' | 'lookAgainMs'>;

/** One of the two queues, as a loop sees it. */
export interface WorkQueue<T> {
  readonly concurrency: number;
  readonly pollMs: number;
  /** Claims up to `limit` items. @param woken - whether something is known to have come in */
  claim(limit: number, woken: boolean): Promise<ClaimedWork<T>>;
  /**
   * Works on one; never rejects.
   *
   * @param onHandled - is told when there is no more to do than to record the outcome
   */
  run(item: T, onHandled: () => void): Promise<void>;
  /** Takes care of what was claimed while the loop was told to stop; never rejects. */
  giveBack(items: readonly T[]): Promise<void>;
}

/**
 * Keeps up to `concurrency` items of a queue at work, while the outcomes of twice as many others are being
 * recorded, so that the next claim need not wait while two statements record. Idle, it polls, with jitter
 * so that many workers spread out, or claims at once when it is woken. Busy, it claims as many as have
 * ended meanwhile.
 */
export class WorkLoop<T> {
  /** How many items there are, whose outcomes are not all recorded. */
  private running = 0;
  /** How many of them are more than an outcome to record. */
  private working = 0;
  private stopping = false;
  private onEnd: () => void = () => {};
  private woken = false;
  /** What a pause ends by, besides its time. */
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

  /** How many are at work: those whose outcomes are being recorded are not. */
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

  /** Claims nothing more. @returns when all that was claimed has ended */
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
        // What ended in the same batch frees its places first: one claim then fills them all.
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
