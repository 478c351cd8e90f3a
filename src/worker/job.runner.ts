import type { Logger } from '@nestjs/common';
import {
  InvalidJobTransitionError,
  JobNotFoundError,
  LeaseLostError,
  reasonOf,
} from '../errors.js';
import { readInput } from '../input/input.js';
import { JobResult } from '../jobs/job.inputs.js';
import type { JobService } from '../jobs/job.service.js';
import type { JobRefusal } from '../jobs/job.settlement.js';
import { JobStatus } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import { backoffMs } from './backoff.js';
import type { JobCompleter } from './job.completer.js';
import type { Lease, LeaseKeeper } from './lease.keeper.js';
import { WorkerStoppedError } from './outage.watch.js';
import type { Activity } from './outage.watch.js';
import { errorText } from './error-text.js';
import type { RecordError, Telemetry } from './telemetry.js';
import type { ResolvedWorkerOptions } from './worker.options.js';
import { UnrecoverableJobError } from './worker.types.js';
import type { JobOutcome, VideoJobHandler } from './worker.types.js';

/** What became of a run, as the statistics count it. */
export type RunOutcome = 'completed' | 'retried' | 'failed' | 'lost' | 'released';

/** Runs claimed jobs in their handler, and records what came of them. Nothing escapes it. */
export class JobRunner {
  /**
   * @param jobs - records outcomes
   * @param ownJobs - gives jobs back, on a connection that no handler's transaction holds
   */
  constructor(
    private readonly handler: VideoJobHandler,
    private readonly jobs: JobService,
    private readonly ownJobs: JobService,
    private readonly keeper: LeaseKeeper,
    private readonly completer: JobCompleter,
    private readonly recording: Activity,
    private readonly options: ResolvedWorkerOptions,
    private readonly telemetry: Telemetry,
    private readonly logger: Logger,
  ) {}

  /**
   * Runs a job whose lease is held, from its handler to the record of its outcome.
   *
   * @param onHandled - is told when there is no more to do than to record the outcome
   */
  async run(lease: Lease, onHandled: () => void = () => {}): Promise<RunOutcome> {
    const { job } = lease;
    try {
      return await this.telemetry.span('process', job.jobId, job.attempts, (recordError) =>
        this.attempt(lease, recordError, onHandled),
      );
    } catch (error) {
      // What is left: an error that no retry mends. The lease ends, and the next claim counts the run.
      this.logger.error(
        `The outcome of job ${job.jobId} could not be recorded: ${reasonOf(error)}`,
      );
      return 'lost';
    } finally {
      this.keeper.drop(lease);
    }
  }

  /** Gives a job back without counting the attempt. */
  async release(lease: Lease): Promise<void> {
    lease.settling = true;
    try {
      await this.ownJobs.releaseJob(lease.job);
      this.telemetry.count('jobs.released');
    } catch (error) {
      // It was finished or taken meanwhile, or the database is away: then its lease ends by itself.
      if (!(error instanceof LeaseLostError)) {
        this.logger.warn(`Job ${lease.job.jobId} could not be released: ${reasonOf(error)}`);
      }
    } finally {
      this.keeper.drop(lease);
    }
  }

  private async attempt(
    lease: Lease,
    recordError: RecordError,
    onHandled: () => void,
  ): Promise<RunOutcome> {
    const { job, abort } = lease;
    try {
      const context = { signal: abort.signal, attempt: job.attempts };
      const outcome = await this.handler.process(job, context);
      abort.signal.throwIfAborted();
      if (typeof outcome !== 'function') onHandled();
      return await this.complete(lease, outcome);
    } catch (error) {
      if (abort.signal.aborted) return lease.released ? 'released' : 'lost';
      // The work was done, only not recorded: that is no failure of it.
      if (error instanceof WorkerStoppedError) throw error;
      if (error instanceof LeaseLostError && error.jobId === job.jobId) {
        return this.lost(job, error, JobStatus.COMPLETED);
      }
      recordError(error);
      lease.settling = true;
      return await this.fail(job, error);
    }
  }

  private async complete(lease: Lease, outcome: JobOutcome): Promise<RunOutcome> {
    if (typeof outcome === 'function') {
      await this.completer.completeWith(lease, outcome);
      return 'completed';
    }
    const result = readInput('The outcome of a job', JobResult, outcome);
    lease.settling = true;
    try {
      await this.completer.complete(lease.job, result);
      return 'completed';
    } catch (error) {
      if (isRefusal(error)) return this.lost(lease.job, error, JobStatus.COMPLETED);
      throw error;
    }
  }

  private async fail(job: VideoJob, cause: unknown): Promise<RunOutcome> {
    const final =
      cause instanceof UnrecoverableJobError || job.attempts >= this.options.maxAttempts;
    const retryInMs = final ? undefined : backoffMs(job.attempts, this.options.backoff);
    this.logger.warn(
      `Run ${job.runNumber} of job ${job.jobId} failed (attempt ${job.attempts}), ` +
        `${final ? 'for good' : `next try in ${retryInMs} ms`}: ${reasonOf(cause)}`,
    );
    const failure = { errorMessage: errorText(cause), retryInMs };
    try {
      await this.recording.untilAnswered(() => this.jobs.failJob(job, failure));
      return final ? 'failed' : 'retried';
    } catch (error) {
      if (!(error instanceof LeaseLostError)) throw error;
      return this.lost(job, error, final ? JobStatus.FAILED : JobStatus.PENDING);
    }
  }

  /**
   * The run was taken over, unless it is this run's own write whose reply was lost.
   *
   * @param written - the status that this write would have left
   */
  private lost(job: VideoJob, error: Error, written: JobStatus): RunOutcome {
    const { runNumber, status } = error instanceof LeaseLostError ? error : {};
    // Nobody else can have completed this run.
    const own = status === written || status === JobStatus.COMPLETED;
    if (runNumber === job.runNumber && own) return OUTCOMES[status];
    this.logger.warn(`The outcome of run ${job.runNumber} was discarded: ${error.message}`);
    return 'lost';
  }
}

const OUTCOMES: Record<JobStatus, RunOutcome> = {
  processing: 'lost',
  completed: 'completed',
  failed: 'failed',
  pending: 'retried',
};

const isRefusal = (error: unknown): error is JobRefusal =>
  error instanceof LeaseLostError ||
  error instanceof JobNotFoundError ||
  error instanceof InvalidJobTransitionError;
