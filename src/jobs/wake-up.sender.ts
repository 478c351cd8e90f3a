import type { DataSource } from 'typeorm';
import { SqlRunner } from '../sql/sql.runner.js';
import { onJobChange } from './job.changes.js';
import { onQueueEvent } from './job.events.js';
import { notifyQueues } from './wake-up.sql.js';

/**
 * The channel of `LISTEN` and `NOTIFY`; the payload is the queue that has grown, or `cancelled` and the id
 * of a job.
 */
export const WAKE_UP_CHANNEL = 'frameforge_queue';

const CANCELLED = 'cancelled ';

/** The id of the job, if a message says that one was cancelled. */
export const cancelledJobOf = (message: string): string | undefined =>
  message.startsWith(CANCELLED) ? message.slice(CANCELLED.length) : undefined;

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
  private readonly unsubscribe: readonly (() => void)[];
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
    this.unsubscribe = [
      onQueueEvent(dataSource, ({ queue }) => this.add(queue)),
      onJobChange(dataSource, ({ jobIds, areCancelled }) => {
        if (areCancelled !== true) return;
        for (const jobId of jobIds) this.add(`${CANCELLED}${jobId}`);
      }),
    ];
  }

  private add(message: string): void {
    this.pending.add(message);
    const waitMs = this.isClosing ? 0 : this.last + COALESCE_MS - performance.now();
    this.timer ??= setTimeout(() => this.send(), Math.max(waitMs, 0)).unref();
  }

  /** Sends what is pending, and from now on without delay. @returns when all is sent */
  async flush(): Promise<void> {
    this.isClosing = true;
    this.send();
    await this.sending;
  }

  end(): void {
    clearTimeout(this.timer);
    for (const end of this.unsubscribe) end();
  }

  private send(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.last = performance.now();
    const messages = [...this.pending];
    this.pending.clear();
    if (messages.length === 0 || !this.dataSource.isInitialized) return;
    const sent = this.db
      .run('Waking workers', notifyQueues, [WAKE_UP_CHANNEL, messages])
      .catch(this.warn);
    this.sending = Promise.all([this.sending, sent]);
  }
}
