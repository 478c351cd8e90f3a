import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DatabaseUnavailableError, StatementTimeoutError } from '../../src/errors.js';
import type { JobService } from '../../src/jobs/job.service.js';
import { KINDS } from './settings.js';
import type { Kind } from './settings.js';

/** Creates jobs at a steady rate, and repeats each call until it is acknowledged. */
export class Producer {
  readonly acknowledged: string[] = [];
  /** Calls that had to be repeated, because the database was away or too slow. */
  repeated = 0;
  private readonly calls = new Set<Promise<void>>();
  private timer: NodeJS.Timeout | undefined;
  private failure: unknown;

  constructor(
    private readonly jobs: JobService,
    private readonly userId: string,
    private readonly random: () => number,
  ) {}

  start(rate: number): void {
    const start = performance.now();
    let called = 0;
    this.timer = setInterval(() => {
      // After a late timer it creates more jobs at once, so that the rate is steady.
      const due = ((performance.now() - start) * rate) / 1_000;
      for (; called < due; called += 1) this.call();
    }, 1_000 / rate);
  }

  /** @throws errors that another try cannot solve */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.calls);
    if (this.failure !== undefined) throw this.failure;
  }

  private call(): void {
    const call = this.create()
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => this.calls.delete(call));
    this.calls.add(call);
  }

  private async create(): Promise<void> {
    const jobId = randomUUID();
    const filename = `${this.kind()}:${this.duration()}`;
    const input = { jobId, userId: this.userId, filename, videoUrl: 's3://videos/a.mp4' };
    for (;;) {
      try {
        await this.jobs.createJob(input);
        this.acknowledged.push(jobId);
        return;
      } catch (error) {
        const again =
          error instanceof DatabaseUnavailableError || error instanceof StatementTimeoutError;
        if (!again) throw error;
        this.repeated += 1;
        await sleep(100);
      }
    }
  }

  private kind(): Kind {
    let rest = this.random() * 100;
    for (const [kind, share] of Object.entries(KINDS)) {
      rest -= share;
      if (rest < 0) return kind as Kind;
    }
    return 'plain';
  }

  /** The duration of a job, in ms. Most are short. Some are long enough that a kill finds them processing. */
  private duration(): number {
    return Math.round(this.random() < 0.05 ? 1_000 * this.random() : 100 * this.random());
  }
}
