import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import {
  InvalidInputError,
  InvalidJobTransitionError,
  JobNotFoundError,
  LeaseLostError,
} from '../errors.js';
import { readable, reasonOf } from '../errors.text.js';
import { cutOff } from '../peers/pg.internals.js';
import type { PgClient } from '../peers/pg.internals.js';
import { readInput } from '../input/input.js';
import { JobResult } from '../jobs/job.inputs.js';
import { requireSchemes } from '../jobs/url.schemes.js';
import { releaseUnlocked, settleJob } from '../jobs/job.settlement.js';
import type { JobRefusal } from '../jobs/job.settlement.js';
import { JobStatus } from '../schema/entities/index.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import { errorText, storable } from './error-text.js';
import { verdictOn } from './failure.verdict.js';
import type { JobCompleter } from './job.completer.js';
import type { Lease, LeaseKeeper } from '../jobs/leases/lease.keeper.js';
import { Signalled } from '../jobs/leases/signalled.js';
import { NotRecordedError } from './outage.watch.js';
import type { ProgressReporter } from './progress.reporter.js';
import type { Activity } from './outage.watch.js';
import { RunLimit } from './run.limit.js';
import type { RecordError, Telemetry } from './telemetry.js';
import type { ResolvedWorkerOptions } from './worker.options.js';
import { RetryJobError, UnrecoverableJobError } from './worker.types.js';
import type { JobOutcome, VideoJobHandler } from './worker.types.js';

/** For how long, in ms, a worker that ends tries to release jobs whose rows are locked, and how often. */
const RELEASE_MS = 5_000;
const RELEASE_AGAIN_MS = 50;

/** How a run ended, as the statistics count it. */
export type RunEnd = 'completed' | 'retried' | 'failed' | 'lost' | 'released' | 'cancelled';

/** Runs claimed jobs in their handler, and records their outcomes. It never rejects. */
export class JobRunner {
  /**
   * @param db - records outcomes
   * @param leaseDb - gives jobs back, on a connection that no handler's transaction holds
   */
  constructor(
    private readonly handler: VideoJobHandler,
    private readonly db: SqlRunner,
    private readonly leaseDb: SqlRunner,
    private readonly keeper: LeaseKeeper,
    private readonly progress: ProgressReporter,
    private readonly completer: JobCompleter,
    private readonly recording: Activity,
    private readonly options: ResolvedWorkerOptions & { readonly urlSchemes: readonly string[] },
    private readonly telemetry: Telemetry,
    private readonly logger: Logger,
  ) {}

  /**
   * Runs a job whose lease is held, from its handler to the record of its outcome.
   *
   * @param onHandled - is called when only the outcome must still be recorded
   */
  async run(lease: Lease, onHandled: () => void = () => {}): Promise<RunEnd> {
    const { jobId, attempts } = lease.run;
    try {
      return await this.telemetry.span('process', jobId, attempts, (recordError) =>
        this.attempt(lease, recordError, onHandled),
      );
    } catch (error) {
      // The lease ends by itself, and the next claim counts the run.
      this.logger.error(`The outcome of job ${jobId} could not be recorded: ${reasonOf(error)}`);
      return 'lost';
    } finally {
      this.keeper.remove(lease);
    }
  }

  /**
   * Gives jobs back without counting the attempt. A locked row, for example of a handler in `whileHeld`, delays no
   * other job. It is tried again for a while.
   */
  async release(leases: readonly Lease[]): Promise<void> {
    for (const lease of leases) lease.settling = true;
    const end = performance.now() + Math.min(this.options.leaseMs / 3, RELEASE_MS);
    let rest = leases;
    try {
      for (;;) {
        rest = await this.releaseUnlocked(rest);
        if (rest.length === 0) return;
        if (performance.now() >= end) throw new Error('somebody has locked the row');
        await sleep(RELEASE_AGAIN_MS);
      }
    } catch (error) {
      // For example, the database cannot be reached. Then the leases end by themselves.
      const jobs = rest.map(({ run }) => run.jobId).join(', ');
      this.logger.warn(`Could not be released: ${jobs}: ${reasonOf(error)}`);
    } finally {
      for (const lease of leases) this.keeper.remove(lease);
    }
  }

  /** @returns the leases whose rows are locked */
  private async releaseUnlocked(leases: readonly Lease[]): Promise<Lease[]> {
    const verdicts = await releaseUnlocked(
      this.leaseDb,
      leases.map(({ run }) => run),
    );
    // A refused job has ended meanwhile, or another worker has it.
    const released = verdicts.filter((one) => one !== undefined && !('error' in one));
    this.telemetry.count('jobs.released', released.length);
    return leases.filter((_, index) => verdicts[index] === undefined);
  }

  private async attempt(
    lease: Lease,
    recordError: RecordError,
    onHandled: () => void,
  ): Promise<RunEnd> {
    const { run, abort } = lease;
    const limit = this.limitOf(lease, onHandled);
    try {
      // V8 makes a function among its old objects, with all that it refers to, if an object literal has its text.
      const progress = (percent: number, message?: string): void => {
        this.progress.report(lease, percent, message);
      };
      const context = Object.assign(new Signalled(abort), { attempt: run.attempts, progress });
      const outcome = await limit.run(() => this.handler.process(lease.job, context));
      abort.throwIfAborted();
      if (typeof outcome !== 'function') onHandled();
      return await this.complete(lease, outcome, limit);
    } catch (thrown) {
      const error = limit.error ?? readable(thrown);
      if (lease.released || (abort.aborted && limit.error === undefined)) return abortedAs(lease);
      // The work was done and could not be recorded, so the run did not fail.
      if (error instanceof NotRecordedError) throw error;
      if (error instanceof LeaseLostError && error.jobId === run.jobId) {
        return this.refused(lease, error, JobStatus.COMPLETED);
      }
      recordError(error);
      lease.settling = true;
      return await this.fail(lease, error);
    }
  }

  private limitOf(lease: Lease, onHandled: () => void): RunLimit {
    return new RunLimit(lease, this.options.maxRunMs ?? Infinity, (ended) => {
      this.giveUp(lease, ended);
      onHandled();
    });
  }

  /**
   * Gives up a handler that takes too long. Another job gets its place, and it is counted as hanging until it
   * ends.
   */
  private giveUp({ run }: Lease, ended: Promise<unknown>): void {
    this.telemetry.hangs('jobs', 1);
    void ended.then(() => this.telemetry.hangs('jobs', -1));
    this.logger.warn(
      `Run ${run.runNumber} of job ${run.jobId} still runs, long after its time limit. Its place is free for other jobs, ` +
        `and nothing of this run will be recorded. Let the handler stop when \`signal\` is aborted.`,
    );
  }

  private async complete(lease: Lease, outcome: JobOutcome, limit: RunLimit): Promise<RunEnd> {
    const { urlSchemes } = this.options;
    if (typeof outcome === 'function') {
      await this.completer.completeWith(lease, async (manager) => {
        const result = await limit.run(
          () => outcome(manager),
          () => breakTransaction(manager),
        );
        return resultOf(result, urlSchemes);
      });
      return 'completed';
    }
    const result = resultOf(outcome, urlSchemes);
    lease.settling = true;
    try {
      await this.completer.complete(lease, result);
      return 'completed';
    } catch (error) {
      if (isRefusal(error)) return this.refused(lease, error, JobStatus.COMPLETED);
      throw error;
    }
  }

  private async fail(lease: Lease, cause: unknown): Promise<RunEnd> {
    const { jobId, runNumber, attempts } = lease.run;
    const { retryInMs, counts } = verdictOn(cause, attempts, this.options);
    const final = retryInMs === undefined;
    const says = !(cause instanceof RetryJobError) || cause.hasReason || final;
    this.logger.warn(
      `Run ${runNumber} of job ${jobId} failed (attempt ${attempts}), ` +
        `${final ? 'for good' : `next try in ${retryInMs} ms`}: ${reasonOf(cause)}`,
    );
    const failure = {
      handle: lease.run,
      next: final ? JobStatus.FAILED : JobStatus.PENDING,
      errorMessage: says ? this.messageForUser(lease, cause) : undefined,
      attemptError: counts ? errorText(cause) : null,
      delayMs: retryInMs,
      refund: counts ? 0 : 1,
    };
    try {
      await this.recording.untilRecorded(
        () => settleJob(this.db, 'failJob', 'failed', failure, {}),
        () => lease.isHeld,
      );
      return final ? 'failed' : 'retried';
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return this.refused(lease, error, failure.next);
    }
  }

  /** The text that the job's user reads for an error. The application decides it. */
  private messageForUser({ job, run }: Lease, cause: unknown): string {
    const { errorMessage } = this.options;
    try {
      const text = errorMessage === undefined ? '' : storable(errorMessage(cause, job));
      return text === '' ? errorText(cause) : text;
    } catch (error) {
      this.logger.error(
        `\`errorMessage\` of FrameForgeWorkerModule failed for job ${run.jobId}, ` +
          `so its user reads the message of the handler's error: ${reasonOf(error)}`,
      );
      return errorText(cause);
    }
  }

  /**
   * Decides whether the run was taken over, or whether its own write succeeded and the reply was lost.
   *
   * @param written - the status that this write sets
   */
  private refused({ run, overslept }: Lease, error: JobRefusal, written: JobStatus): RunEnd {
    const { runNumber, status, isCancelled } = error instanceof LeaseLostError ? error : {};
    const isDeleted = error instanceof JobNotFoundError;
    if (isCancelled === true || isDeleted) {
      this.logger.log(
        `Job ${run.jobId} was ${isDeleted ? 'deleted' : 'cancelled'}: ` +
          `the outcome of run ${run.runNumber} is dropped.`,
      );
      return 'cancelled';
    }
    // Only this worker can have completed this run.
    const own = status === written || status === JobStatus.COMPLETED;
    if (runNumber === run.runNumber && own) return ENDS[status];
    const why = overslept === undefined ? '' : ` The lease was lost because ${overslept}.`;
    this.logger.warn(`The outcome of run ${run.runNumber} was discarded: ${error.message}${why}`);
    return 'lost';
  }
}

/** Breaks the connection of a transaction. It can write nothing more, and the server rolls it back. */
function breakTransaction({ queryRunner }: EntityManager): void {
  void queryRunner?.connect().then(
    (client) => cutOff(client as PgClient),
    () => {
      // One that is released already is broken already.
    },
  );
}

const abortedAs = ({ released, cancelled }: Lease): RunEnd =>
  released ? 'released' : cancelled ? 'cancelled' : 'lost';

const ENDS: Record<JobStatus, RunEnd> = {
  processing: 'lost',
  completed: 'completed',
  failed: 'failed',
  pending: 'retried',
};

/** @throws UnrecoverableJobError if the result is not valid, because another try would return the same */
function resultOf(outcome: unknown, urlSchemes: readonly string[]): JobResult {
  const operation = "The handler's outcome";
  try {
    const result = readInput(operation, JobResult, outcome);
    requireSchemes(operation, urlSchemes, [{ property: 'resultUrl', url: result.resultUrl }]);
    return result;
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    const problems = error.problems.map(({ property, message }) => `${property} ${message}`);
    const message = `The handler's outcome is no valid result: ${problems.join('; ')}.`;
    throw new UnrecoverableJobError(message, { cause: error });
  }
}

const isRefusal = (error: unknown): error is JobRefusal =>
  error instanceof LeaseLostError ||
  error instanceof JobNotFoundError ||
  error instanceof InvalidJobTransitionError;
