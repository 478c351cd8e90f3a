import type { JobResult } from '../jobs/job.inputs.js';
import type { CompletionVerdict, JobService } from '../jobs/job.service.js';
import type { VideoJob } from '../schema/entities/index.js';
import { isTransient } from './outage.watch.js';
import type { OutageWatch } from './outage.watch.js';

interface Waiting {
  readonly job: VideoJob;
  readonly result: JobResult;
  readonly resolve: (verdict: CompletionVerdict) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Completes jobs in batches: what ends while one statement is under way is in the next (group commit).
 * It waits out a database that is away; a completion whose reply was lost is repeated, and the fence
 * tells whether it had been done.
 */
export class JobCompleter {
  private waiting: Waiting[] = [];
  private flushing = false;

  constructor(
    private readonly jobs: JobService,
    private readonly outage: OutageWatch,
  ) {}

  /** @throws whatever the database says of this completion alone, when trying again cannot help */
  complete(job: VideoJob, result: JobResult): Promise<CompletionVerdict> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ job, result, resolve, reject });
      if (!this.flushing) void this.flush();
    });
  }

  private async flush(): Promise<void> {
    this.flushing = true;
    // What else ends in this turn of the event loop comes along.
    await Promise.resolve();
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0, 1_000);
      try {
        const verdicts = await this.jobs.completeJobs(batch);
        this.outage.succeeded();
        batch.forEach(({ resolve }, index) => resolve(verdicts[index] as CompletionVerdict));
      } catch (error) {
        if (isTransient(error)) {
          this.waiting.unshift(...batch);
          await this.outage.wait(error).catch((stopped: unknown) => {
            for (const { reject } of this.waiting.splice(0)) reject(stopped);
          });
        } else {
          await this.completeEach(batch);
        }
      }
    }
    this.flushing = false;
  }

  /** One of the batch cannot be written: the others shall not suffer for it. */
  private async completeEach(batch: readonly Waiting[]): Promise<void> {
    for (const { job, result, resolve, reject } of batch) {
      await this.jobs.completeJobs([{ job, result }]).then(
        ([verdict]) => resolve(verdict as CompletionVerdict),
        (error: unknown) => reject(error),
      );
    }
  }
}
