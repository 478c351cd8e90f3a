import { TypeORMError } from 'typeorm';
import type { EntityManager } from 'typeorm';
import { canHeal } from '../connection/healing.js';
import { boundedTransaction } from '../sql/bounded.transaction.js';
import { RequestBatcher } from '../sql/request.batcher.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import { DatabaseUnavailableError, FrameForgeError } from '../errors.js';
import { fromDriver } from '../errors.driver.js';
import type { JobResult } from '../jobs/job.inputs.js';
import type { JobService } from '../jobs/job.service.js';
import { completeJob, completeJobsOfWorker } from '../jobs/job.settlement.js';
import { JobStatus } from '../schema/entities/index.js';
import type { Lease } from '../jobs/leases/lease.keeper.js';
import { NotRecordedError } from './outage.watch.js';
import type { Activity } from './outage.watch.js';
import { RetryJobError, UnrecoverableJobError } from './worker.types.js';

/** How many jobs one statement completes at the most. */
const MAX_BATCH = 1_000;
/** How often a statement for several jobs is tried, if the reason of its failure is not an outage. */
const BATCH_TRIES = 3;
/** How often a transaction with the application's own writes is tried again. All tries take some 20 s. */
const TRANSACTION_TRIES = 10;

/** A run whose handler has ended. A class, as `Pending` of the batcher is one. */
class Finished {
  constructor(
    readonly lease: Lease,
    readonly result: JobResult,
  ) {}
}

/**
 * Completes jobs. It waits while the database cannot be reached, and tries again what the server could not do. It
 * repeats a completion whose reply was lost, and the fence tells whether the first one was done.
 */
export class JobCompleter {
  private readonly completions: RequestBatcher<Finished, true>;

  /**
   * @param workerId - who holds the leases
   * @param db - on the application's pool, as `jobs` is
   */
  constructor(
    private readonly jobs: JobService,
    private readonly workerId: string,
    private readonly db: SqlRunner,
    private readonly recording: Activity,
  ) {
    this.completions = new RequestBatcher(
      {
        operation: 'completeJob',
        rowOf: ({ lease }) => lease.run.jobId,
        together: (finished) => this.completeTogether(finished),
        alone: async ({ lease, result }) => {
          const completion = { handle: lease.run, result };
          await recording.untilRecorded(
            () => completeJob(db, completion, {}),
            () => lease.isHeld,
          );
          return true as const;
        },
      },
      { maxBatch: MAX_BATCH },
    );
  }

  /**
   * Completes a job. Jobs that end while statements are running are completed by the next statement.
   *
   * @throws JobNotFoundError, LeaseLostError, InvalidJobTransitionError, NotRecordedError, or an
   *   error of the database about this result
   */
  async complete(lease: Lease, result: JobResult): Promise<void> {
    await this.completions.run(new Finished(lease, result));
  }

  private async completeTogether(finished: readonly Finished[]): Promise<(true | undefined)[]> {
    const completions = finished.map(({ lease, result }) => ({ handle: lease.run, result }));
    let tries = 0;
    const done = await this.recording.untilRecorded(
      () => completeJobsOfWorker(this.db, this.workerId, completions),
      () => (tries += 1) < BATCH_TRIES,
    );
    return done.map((isDone) => isDone || undefined);
  }

  /**
   * Completes a job in a transaction with the application's own writes. These writes are part of the handler's
   * work, so the lease can be lost during them. If the database rolls the transaction back, or the connection
   * breaks, the transaction runs again.
   *
   * @param write - resolves to the result
   * @throws whatever `write` throws, and as `complete` does; nothing was written
   */
  async completeWith(
    lease: Lease,
    write: (manager: EntityManager) => Promise<JobResult>,
  ): Promise<void> {
    const recording = this.recording.another();
    try {
      for (let tries = 1; ; tries += 1) {
        const attempt = { writing: false };
        try {
          if (tries > 1 && (await this.wasCompleted(lease))) return;
          await this.transaction(lease, write, attempt);
          return recording.succeeded();
        } catch (error) {
          lease.settling = false;
          lease.abort.throwIfAborted();
          const reason = attempt.writing ? error : fromDriver(error, 'completeJob');
          if (attempt.writing && !canHeal(reason)) throw error;
          if (attempt.writing && tries === TRANSACTION_TRIES) {
            const message = `The transaction broke ${tries} times`;
            throw new NotRecordedError(message, { cause: error });
          }
          await recording.again(reason, () => lease.isHeld);
          lease.abort.throwIfAborted();
        }
      }
    } finally {
      recording.forget();
    }
  }

  /** @param attempt - whether the application's own code is at work */
  private async transaction(
    lease: Lease,
    write: (manager: EntityManager) => Promise<JobResult>,
    attempt: { writing: boolean },
  ): Promise<void> {
    const { dataSource, replyTimeoutMs } = this.db;
    await boundedTransaction(dataSource, 'completeJob', replyTimeoutMs, async (manager) => {
      attempt.writing = true;
      const result = await write(manager).catch((error: unknown) => {
        throw reasonOfBreak(error, manager);
      });
      // The application may have caught the error of the broken connection, and may not know of it.
      if (isBroken(manager)) throw broken();
      attempt.writing = false;
      lease.abort.throwIfAborted();
      lease.settling = true;
      await completeJob(this.db, { handle: lease.run, result }, { manager });
    });
  }

  /** Whether a commit whose reply was lost was done. */
  private async wasCompleted({ run }: Lease): Promise<boolean> {
    const current = await this.jobs.getJob(run.jobId);
    return current.runNumber === run.runNumber && current.status === JobStatus.COMPLETED;
  }
}

const broken = (cause: unknown = new Error('the connection of the transaction broke')): Error =>
  new DatabaseUnavailableError('completeJob', { cause });

const isBroken = (manager: EntityManager): boolean => manager.queryRunner?.isReleased === true;

/**
 * Why the application's code failed in a transaction: because of the database, its connection, or another
 * reason. An error of another service of the application does not count as an error of this database.
 */
function reasonOfBreak(error: unknown, manager: EntityManager): unknown {
  if (error instanceof UnrecoverableJobError || error instanceof RetryJobError) return error;
  // Do not look at the error itself: TypeORM has many different errors for a broken connection.
  if (isBroken(manager)) return broken(error);
  const isOfDatabase = error instanceof TypeORMError || error instanceof FrameForgeError;
  const reason = isOfDatabase ? fromDriver(error, 'completeJob') : error;
  return canHeal(reason) ? reason : error;
}
