import type { DataSource } from 'typeorm';
import { SqlRunner } from '../sql/sql.runner.js';
import { onQueueEvent } from './job.events.js';
import { notifyQueues } from './wake-up.sql.js';

/** The channel of `LISTEN` and `NOTIFY`; the payload is the queue that has grown. */
export const WAKE_UP_CHANNEL = 'frameforge_queue';

/** The least time between two notifications of a process, in ms. */
const COALESCE_MS = 10;

/** How long one may take, in ms: it is worth less than an application that ends in time. */
const TIMEOUT_MS = 5_000;

/**
 * Wakes the workers of other processes by `NOTIFY` when this one has committed something to do. It is
 * sent after the commit, and once for all that came within 10 ms: a `NOTIFY` in each insert's own
 * transaction takes a lock that all commits share, and costs more than half of their throughput.
 */
export class WakeUpSender {
  private readonly pending = new Set<string>();
  private readonly db: SqlRunner;
  private readonly unsubscribe: () => void;
  private timer: NodeJS.Timeout | undefined;
  private last = -Infinity;
  private isClosing = false;
  private sending: Promise<unknown> = Promise.resolve();

  /** @param warn - is told of a notification that could not be sent; the workers' polls make up for it */
  constructor(
    private readonly dataSource: DataSource,
    private readonly warn: (error: unknown) => void,
  ) {
    this.db = new SqlRunner(dataSource, false, { replyTimeoutMs: TIMEOUT_MS });
    this.unsubscribe = onQueueEvent(dataSource, ({ queue }) => {
      this.pending.add(queue);
      const waitMs = this.isClosing ? 0 : this.last + COALESCE_MS - performance.now();
      this.timer ??= setTimeout(() => this.send(), Math.max(waitMs, 0)).unref();
    });
  }

  /** Sends what is pending, and from now on without delay. @returns when all is sent */
  async flush(): Promise<void> {
    this.isClosing = true;
    this.send();
    await this.sending;
  }

  end(): void {
    clearTimeout(this.timer);
    this.unsubscribe();
  }

  private send(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.last = performance.now();
    const queues = [...this.pending];
    this.pending.clear();
    if (queues.length === 0 || !this.dataSource.isInitialized) return;
    const sent = this.db
      .run('Waking workers', notifyQueues, [WAKE_UP_CHANNEL, queues])
      .catch(this.warn);
    this.sending = Promise.all([this.sending, sent]);
  }
}
