import { setTimeout as sleep } from 'node:timers/promises';
import {
  DatabaseUnavailableError,
  InvalidJobTransitionError,
  StatementTimeoutError,
} from '../../src/errors.js';
import type { JobService } from '../../src/jobs/job.service.js';

/** Each cancellation is of one of this many newest jobs, because many of them are pending or processing. */
const REACH = 30;

/** Cancels jobs at random, at a steady rate, and repeats each call until it is answered. */
export class Canceller {
  /** The jobs whose cancellation was acknowledged. */
  readonly cancelled: string[] = [];
  private readonly calls = new Set<Promise<void>>();
  private timer: NodeJS.Timeout | undefined;
  private failure: unknown;

  constructor(
    private readonly jobs: JobService,
    private readonly created: readonly string[],
    private readonly random: () => number,
  ) {}

  start(rate: number): void {
    this.timer = setInterval(() => {
      const index = this.created.length - 1 - Math.floor(this.random() * REACH);
      const jobId = this.created[index];
      if (jobId === undefined) return;
      const call = this.cancel(jobId)
        .catch((error: unknown) => {
          this.failure ??= error;
        })
        .finally(() => this.calls.delete(call));
      this.calls.add(call);
    }, 1_000 / rate);
  }

  /** @throws errors that another try cannot solve */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.calls);
    if (this.failure !== undefined) throw this.failure;
  }

  private async cancel(jobId: string): Promise<void> {
    for (;;) {
      try {
        await this.jobs.cancelJob(jobId);
        this.cancelled.push(jobId);
        return;
      } catch (error) {
        // The job had already ended by itself.
        if (error instanceof InvalidJobTransitionError) return;
        const again =
          error instanceof DatabaseUnavailableError || error instanceof StatementTimeoutError;
        if (!again) throw error;
        await sleep(100);
      }
    }
  }
}
