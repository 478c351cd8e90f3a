import type { DataSource } from 'typeorm';
import { SqlRunner } from '../sql/sql.runner.js';
import { onJobChange } from './job.changes.js';
import type { ChangedJob, JobChange } from './job.changes.js';
import { onQueueEvent } from './job.events.js';
import { notify } from './wake-up.sql.js';

/**
 * The channel of `LISTEN` and `NOTIFY`. The payload is the queue that has grown, or `cancelled` and the id
 * of a job.
 */
export const WAKE_UP_CHANNEL = 'frameforge_queue';

const CANCELLED = 'cancelled ';

/** The id of the cancelled job, if the message is about a cancellation. */
export const cancelledJobOf = (message: string): string | undefined =>
  message.startsWith(CANCELLED) ? message.slice(CANCELLED.length) : undefined;

/** The channel for watchers of jobs. The payload is a list of jobs that have changed. */
export const CHANGES_CHANNEL = 'frameforge_changes';

/** How many jobs a message names. The server refuses payloads of 8,000 bytes or more. */
const JOBS_PER_MESSAGE = 100;

/** Writes a changed job as a part of a message. */
const changeText = ({ jobId, userId }: ChangedJob): string =>
  userId === undefined ? jobId : `${jobId} ${userId}`;

/** Reads the jobs of a message. */
export const readChanges = (message: string): ChangedJob[] =>
  message.split(',').map((text) => {
    const [jobId = '', userId] = text.split(' ');
    return { jobId, userId };
  });

/** The least time between two notifications of a process, in ms. */
const COALESCE_MS = 10;

/** How long one wake-up may take, in ms. It is short, so that it does not delay the end of the application. */
const TIMEOUT_MS = 5_000;

/**
 * Sends a `NOTIFY` to other processes after this process has committed. It tells their workers that there is
 * work, or that a job was cancelled. It tells their watchers which jobs have changed. It sends after the
 * commit, and once for everything within 10 ms. A `NOTIFY` in each insert's own transaction would take a
 * lock that all commits share, and would cost more than half of the throughput.
 */
export class WakeUpSender {
  private readonly wakeUps = new Set<string>();
  private readonly changes = new Set<string>();
  private readonly db: SqlRunner;
  private readonly unsubscribe: readonly (() => void)[];
  private timer: NodeJS.Timeout | undefined;
  private last = -Infinity;
  private isClosing = false;
  private sending: Promise<unknown> = Promise.resolve();

  /** @param warn - gets the error if a message could not be sent; workers then find the work by polling */
  constructor(
    private readonly dataSource: DataSource,
    private readonly warn: (error: unknown) => void,
  ) {
    this.db = new SqlRunner(dataSource, false, { replyTimeoutMs: TIMEOUT_MS });
    this.unsubscribe = [
      onQueueEvent(dataSource, ({ queue }) => {
        this.wakeUps.add(queue);
        this.schedule();
      }),
      onJobChange(dataSource, (change) => this.note(change)),
    ];
  }

  private note({ jobs, areCancelled }: JobChange): void {
    for (const job of jobs) {
      this.changes.add(changeText(job));
      if (areCancelled === true) this.wakeUps.add(`${CANCELLED}${job.jobId}`);
    }
    this.schedule();
  }

  private schedule(): void {
    const waitMs = this.isClosing ? 0 : this.last + COALESCE_MS - performance.now();
    this.timer ??= setTimeout(() => this.send(), Math.max(waitMs, 0)).unref();
  }

  /** Sends all pending messages. Later messages are sent without delay. @returns when all are sent */
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
    const messages = [...this.wakeUps].map((payload) => [WAKE_UP_CHANNEL, payload]);
    const changes = [...this.changes];
    for (let done = 0; done < changes.length; done += JOBS_PER_MESSAGE) {
      messages.push([CHANGES_CHANNEL, changes.slice(done, done + JOBS_PER_MESSAGE).join()]);
    }
    this.wakeUps.clear();
    this.changes.clear();
    if (messages.length === 0 || !this.dataSource.isInitialized) return;
    const [channels, payloads] = [0, 1].map((index) => messages.map((message) => message[index]));
    const sent = this.db
      .run('Telling other processes', notify, [channels, payloads])
      .catch(this.warn);
    this.sending = Promise.all([this.sending, sent]);
  }
}
