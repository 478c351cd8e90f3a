import { TypeORMError } from 'typeorm';
import type { EntityManager } from 'typeorm';
import { FrameForgeError, fromDriver } from '../errors.js';
import type { JobResult } from '../jobs/job.inputs.js';
import type { CompletionVerdict, JobService } from '../jobs/job.service.js';
import { JobStatus } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import type { Lease } from './lease.keeper.js';
import { isTransient } from './outage.watch.js';
import type { Activity } from './outage.watch.js';

interface Waiting {
  readonly job: VideoJob;
  readonly result: JobResult;
  readonly resolve: (verdict: CompletionVerdict) => void;
  readonly reject: (error: unknown) => void;
}

/** How many jobs one statement completes at the most. */
const MAX_BATCH = 1_000;
/** How often a transaction with the application's own writes is tried, which takes some 20 s. */
const TRANSACTION_TRIES = 10;

/**
 * Completes jobs. It waits out a database that is away; a completion whose reply was lost is repeated,
 * and the fence tells whether it had been done.
 */
export class JobCompleter {
  private waiting: Waiting[] = [];
  private flushing = false;

  constructor(
    private readonly jobs: JobService,
    private readonly recording: Activity,
  ) {}

  /**
   * Completes a job, in a batch: what ends while one statement is under way is in the next (group
   * commit).
   *
   * @throws whatever the database says of this completion alone, when trying again cannot help
   * @throws WorkerStoppedError
   */
  complete(job: VideoJob, result: JobResult): Promise<CompletionVerdict> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ job, result, resolve, reject });
      if (!this.flushing) void this.flush();
    });
  }

  /**
   * Completes a job in a transaction with the application's own writes. Those count as the handler's
   * work, so that the lease can be lost in the middle of them. A transaction that the database undid is
   * run again.
   *
   * @throws whatever `write` throws, LeaseLostError, WorkerStoppedError; nothing was written
   */
  async completeWith(
    lease: Lease,
    write: (manager: EntityManager) => Promise<JobResult>,
  ): Promise<void> {
    const recording = this.recording.another();
    try {
      await this.transactions(lease, write, recording);
    } finally {
      recording.forget();
    }
  }

  private async transactions(
    lease: Lease,
    write: (manager: EntityManager) => Promise<JobResult>,
    recording: Activity,
  ): Promise<void> {
    const { job, abort } = lease;
    for (let tries = 1; ; tries += 1) {
      let writing = false;
      try {
        if (tries > 1 && (await this.wasCompleted(job))) return;
        await this.jobs.dataSource.transaction(async (manager) => {
          writing = true;
          const result = await write(manager);
          writing = false;
          abort.signal.throwIfAborted();
          lease.settling = true;
          await this.jobs.completeJob(job, result, { manager });
        });
        return recording.succeeded();
      } catch (error) {
        // What the handler's code got from a service of its own is no matter of this database.
        const reason = writing && !isOfDatabase(error) ? error : fromDriver(error, 'completeJob');
        if (tries === TRANSACTION_TRIES || !isTransient(reason)) throw error;
        lease.settling = false;
        await recording.wait(reason);
        abort.signal.throwIfAborted();
      }
    }
  }

  private async flush(): Promise<void> {
    this.flushing = true;
    // What else ends in this turn of the event loop comes along.
    await Promise.resolve();
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0, MAX_BATCH);
      try {
        const verdicts = await this.jobs.completeJobs(batch);
        this.recording.succeeded();
        batch.forEach(({ resolve }, index) => resolve(verdicts[index] as CompletionVerdict));
      } catch (error) {
        if (isTransient(error)) await this.again(batch, error);
        else await this.completeEach(batch);
      }
    }
    this.flushing = false;
  }
  /** Whether a commit that nobody heard of was done after all. */
  private async wasCompleted({ jobId, runNumber }: VideoJob): Promise<boolean> {
    const current = await this.jobs.getJob(jobId);
    return current.runNumber === runNumber && current.status === JobStatus.COMPLETED;
  }

  /** Waits for the database, then the batch is at the front again. */
  private async again(batch: readonly Waiting[], error: unknown): Promise<void> {
    this.waiting.unshift(...batch);
    await this.recording.wait(error).catch((stopped: unknown) => {
      for (const { reject } of this.waiting.splice(0)) reject(stopped);
    });
  }

  /** One of the batch cannot be written: the others shall not suffer for it. */
  private async completeEach(batch: readonly Waiting[]): Promise<void> {
    for (const [index, { job, result, resolve, reject }] of batch.entries()) {
      try {
        const [verdict] = await this.jobs.completeJobs([{ job, result }]);
        resolve(verdict as CompletionVerdict);
      } catch (error) {
        if (isTransient(error)) return this.again(batch.slice(index), error);
        reject(error);
      }
    }
  }
}

const isOfDatabase = (error: unknown): boolean =>
  error instanceof TypeORMError || error instanceof FrameForgeError;
