import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import { sweepJobs } from '../jobs/job.pruning.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Activity } from './outage.watch.js';
import type { RetentionOptions } from './worker.options.js';

/** How often a worker looks for jobs to remove, in ms. Each wait is half to one and a half of it. */
const INTERVAL_MS = 300_000;

/**
 * Removes completed and failed jobs whose retention is over, in batches. Only one worker of all processes does
 * this at a time. After each batch it rests for as long as the batch took.
 */
export class Retention {
  private readonly over = new AbortController();
  private sweeping: Promise<void> = Promise.resolve();

  constructor(
    private readonly db: SqlRunner,
    private readonly options: RetentionOptions,
    private readonly removing: Activity,
    private readonly logger: Logger,
  ) {}

  start(): void {
    this.sweeping = this.run();
  }

  /** @returns when the running statement has ended */
  async stop(): Promise<void> {
    this.over.abort();
    await this.sweeping;
  }

  private async run(): Promise<void> {
    while (!this.over.signal.aborted) {
      try {
        await this.sweep('completed', this.options.completedMs);
        await this.sweep('failed', this.options.failedMs);
        this.removing.succeeded();
      } catch (error) {
        // The removal is tried again after the interval. Nothing waits for it.
        this.removing.failed(error);
        this.removing.forget();
      }
      await this.rest(INTERVAL_MS * (0.5 + Math.random()));
    }
  }

  private async sweep(status: 'completed' | 'failed', keptMs: number | undefined): Promise<void> {
    if (keptMs === undefined) return;
    let startedAt = performance.now();
    const removed = await sweepJobs(this.db, status, keptMs, async () => {
      await this.rest(performance.now() - startedAt);
      startedAt = performance.now();
      return !this.over.signal.aborted;
    });
    if (removed > 0)
      this.logger.log(`Removed ${removed} ${status} jobs that were older than their retention.`);
  }

  private async rest(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.over.signal, ref: false }).catch(() => {
      // The worker stops.
    });
  }
}
