import { TypeORMError } from 'typeorm';
import type { EntityManager } from 'typeorm';
import { canHeal } from '../connection/healing.js';
import { RequestBatcher } from '../sql/request.batcher.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import { FrameForgeError, fromDriver } from '../errors.js';
import type { JobResult } from '../jobs/job.inputs.js';
import type { JobService } from '../jobs/job.service.js';
import { completeBriefly, settleJob } from '../jobs/job.settlement.js';
import type { Settlement } from '../jobs/job.settlement.js';
import { JobStatus } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import type { Lease } from './lease.keeper.js';
import type { Activity } from './outage.watch.js';

/** How many jobs one statement completes at the most. */
const MAX_BATCH = 1_000;
/** How often a transaction with the application's own writes is tried, which takes some 20 s. */
const TRANSACTION_TRIES = 10;

/**
 * Completes jobs. It waits out a database that is away; a completion whose reply was lost is repeated,
 * and the fence tells whether it had been done.
 */
export class JobCompleter {
  private readonly completions: RequestBatcher<Settlement, boolean>;

  /** @param db - on the application's pool, as `jobs` is */
  constructor(
    private readonly jobs: JobService,
    db: SqlRunner,
    private readonly recording: Activity,
  ) {
    const operation = 'completeJob';
    this.completions = new RequestBatcher(
      {
        operation,
        rowOf: ({ handle }) => handle.jobId.toLowerCase(),
        alone: async (settlement) => {
          await recording.untilAnswered(() =>
            settleJob(db, operation, 'completed', settlement, {}),
          );
          return true;
        },
        together: async (settlements) => {
          const done = await recording.untilAnswered(() =>
            completeBriefly(db, operation, settlements),
          );
          return done.map((isDone) => isDone || undefined);
        },
      },
      { maxBatch: MAX_BATCH },
    );
  }

  /**
   * Completes a job. What ends while statements are under way is completed by the next one.
   *
   * @throws JobNotFoundError, LeaseLostError, InvalidJobTransitionError, WorkerStoppedError, and whatever
   *   the database says of this completion alone, when trying again cannot help
   */
  async complete(handle: VideoJob, result: JobResult): Promise<void> {
    await this.completions.run({ handle, next: JobStatus.COMPLETED, ...result });
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
        if (tries === TRANSACTION_TRIES || !canHeal(reason)) throw error;
        lease.settling = false;
        await recording.wait(reason);
        abort.signal.throwIfAborted();
      }
    }
  }

  /** Whether a commit that nobody heard of was done after all. */
  private async wasCompleted({ jobId, runNumber }: VideoJob): Promise<boolean> {
    const current = await this.jobs.getJob(jobId);
    return current.runNumber === runNumber && current.status === JobStatus.COMPLETED;
  }
}

const isOfDatabase = (error: unknown): boolean =>
  error instanceof TypeORMError || error instanceof FrameForgeError;
