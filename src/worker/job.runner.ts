import type { Logger } from '@nestjs/common';
import { LeaseLostError, reasonOf } from '../errors.js';
import { readInput } from '../input/input.js';
import { JobResult } from '../jobs/job.inputs.js';
import type { JobService } from '../jobs/job.service.js';
import { JobStatus } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import { backoffMs } from './backoff.js';
import type { JobCompleter } from './job.completer.js';
import type { Lease, LeaseKeeper } from './lease.keeper.js';
import { isTransient } from './outage.watch.js';
import type { OutageWatch } from './outage.watch.js';
import { errorText } from './error-text.js';
import type { Telemetry } from './telemetry.js';
import type { ResolvedWorkerOptions } from './worker.options.js';
import { UnrecoverableJobError } from './worker.types.js';
import type { JobOutcome, VideoJobHandler } from './worker.types.js';

/** What became of a run, as the statistics count it. */
export type RunOutcome = 'completed' | 'retried' | 'failed' | 'lost' | 'released';

/** Runs claimed jobs in their handler, and records what came of them. Nothing escapes it. */
export class JobRunner {
  constructor(
    private readonly handler: VideoJobHandler,
    private readonly jobs: JobService,
    private readonly keeper: LeaseKeeper,
    private readonly completer: JobCompleter,
    private readonly outage: OutageWatch,
    private readonly options: ResolvedWorkerOptions,
    private readonly telemetry: Telemetry,
    private readonly logger: Logger,
  ) {}

  /** Runs a job whose lease is held, from its handler to the record of its outcome. */
  async run(lease: Lease): Promise<RunOutcome> {
    const { job } = lease;
    try {
      return await this.telemetry.span('process', job.jobId, job.attempts, () =>
        this.attempt(lease),
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
      await this.jobs.releaseJob(lease.job);
    } catch (error) {
      // It was finished or taken meanwhile, or the database is away: then its lease ends by itself.
      if (!(error instanceof LeaseLostError)) {
        this.logger.warn(`Job ${lease.job.jobId} could not be released: ${reasonOf(error)}`);
      }
    } finally {
      this.keeper.drop(lease);
    }
  }

  private async attempt(lease: Lease): Promise<RunOutcome> {
    const { job, abort } = lease;
    let outcome: JobOutcome;
    try {
      outcome = await this.handler.process(job, { signal: abort.signal, attempt: job.attempts });
      if (abort.signal.aborted) return 'lost';
      lease.settling = true;
      return await this.complete(job, outcome);
    } catch (error) {
      if (abort.signal.aborted) return 'lost';
      lease.settling = true;
      return await this.fail(job, error);
    }
  }

  private async complete(job: VideoJob, outcome: JobOutcome): Promise<RunOutcome> {
    if (typeof outcome === 'function') {
      await this.jobs.dataSource.transaction(async (manager) => {
        const result = await outcome(manager);
        await this.jobs.completeJob(job, result, { manager });
      });
      return 'completed';
    }
    const result = readInput('The outcome of a job', JobResult, outcome);
    const verdict = await this.completer.complete(job, result);
    return 'error' in verdict ? this.lost(job, verdict.error) : 'completed';
  }

  private async fail(job: VideoJob, cause: unknown): Promise<RunOutcome> {
    if (cause instanceof LeaseLostError) return this.lost(job, cause);
    const final =
      cause instanceof UnrecoverableJobError || job.attempts >= this.options.maxAttempts;
    const retryInMs = final ? undefined : backoffMs(job.attempts, this.options.backoff);
    this.logger.warn(
      `Run ${job.runNumber} of job ${job.jobId} failed (attempt ${job.attempts}), ` +
        `${final ? 'for good' : `next try in ${retryInMs} ms`}: ${reasonOf(cause)}`,
    );
    for (;;) {
      try {
        await this.jobs.failJob(job, { errorMessage: errorText(cause), retryInMs });
        this.outage.succeeded();
        return final ? 'failed' : 'retried';
      } catch (error) {
        if (error instanceof LeaseLostError) return this.lost(job, error);
        if (!isTransient(error)) throw error;
        await this.outage.wait(error);
      }
    }
  }

  /** The run was taken over, unless it is this run's own write whose reply was lost. */
  private lost(job: VideoJob, error: Error): RunOutcome {
    if (error instanceof LeaseLostError && error.runNumber === job.runNumber) {
      if (error.status === JobStatus.COMPLETED) return 'completed';
      if (error.status === JobStatus.FAILED) return 'failed';
      if (error.status === JobStatus.PENDING) return 'retried';
    }
    this.logger.warn(`The outcome of run ${job.runNumber} was discarded: ${error.message}`);
    return 'lost';
  }
}
