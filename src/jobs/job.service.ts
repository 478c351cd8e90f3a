import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { DataSource, EntityManager } from 'typeorm';
import type { RequestBatcher } from '../sql/request.batcher.js';
import { hydrate } from '../sql/hydrate.js';
import { preparedByDefault } from '../sql/prepared-by-default.js';
import { SqlRunner } from '../sql/sql.runner.js';
import type { ServiceOptions } from '../sql/sql.runner.js';
import { ReadOptions, TransactionOptions } from '../sql/transaction.options.js';
import { InvalidInputError, JobNotFoundError } from '../errors.js';
import type { InputProblem } from '../errors.js';
import type { Observable } from 'rxjs';
import {
  CancelJobInput,
  JobProgress,
  PauseProcessingInput,
  WatchJobInput,
  WatchJobsInput,
} from './control/control.inputs.js';
import type { ProgressReport } from './control/control.inputs.js';
import { cancelJob } from './control/job.cancellation.js';
import { whileHeld } from './control/job.fence.js';
import { reportProgress } from './control/job.progress.js';
import { pauseProcessing, resumeProcessing } from './control/processing.state.js';
import type { JobView } from './job.view.js';
import { watchJob, watchJobs, watchOn } from './watching/watching.js';
import { decodeCursor, encodeCursor } from '../input/cursor.js';
import {
  DEFAULT_LEASE_MS,
  DEFAULT_LIMIT,
  DEFAULT_MAX_ATTEMPTS,
  MAX_BATCH,
} from '../input/defaults.js';
import { collect, readId, readInput, readList } from '../input/input.js';
import type { BulkOutcome } from '../sql/in.batches.js';
import { JobAttemptError, JobStatus } from '../schema/entities/index.js';
import type { NotificationLog, VideoJob } from '../schema/entities/index.js';
import { CancelJobsFilter, RetryJobsFilter } from './bulk/bulk.inputs.js';
import { cancelJobs, retryJobs } from './bulk/job.bulk.js';
import { claimAny, claimLostThen, extendLeases } from './job.claiming.js';
import { claimAnyInTurn, claimInTurn, Rotation } from './fair.claiming.js';
import { KeepLeaseOptions, KeptLeases } from './leases/kept.leases.js';
import type { KeptLease } from './leases/kept.leases.js';
import { createJob, createJobs, creatingTogether } from './job.creation.js';
import { announceMoved } from './job.changes.js';
import { announce } from './job.events.js';
import {
  ClaimJobsInput,
  CountJobsInput,
  CreateJobInput,
  ExtendLeasesInput,
  GetJobOptions,
  JobFailure,
  JobHandle,
  JobResult,
  ListJobsInput,
  OwnedJobOptions,
  PruneJobsInput,
  StartJobInput,
} from './job.inputs.js';
import type { JobCompletion } from './job.inputs.js';
import { requireParameters } from './job.parameters.js';
import type { JobParametersClass } from './job.parameters.js';
import { toJob } from './job.row.js';
import type { Row } from './job.row.js';
import {
  completeJob,
  completionsTogether,
  movedJob,
  settleJob,
  settleJobs,
} from './job.settlement.js';
import type { Completion, JobRefusal, SettledJob } from './job.settlement.js';
import { ATTEMPT_ERROR_COLUMNS } from './job.columns.js';
import { DEFAULT_URL_SCHEMES, requireSchemes } from './url.schemes.js';
import { startJob } from './job.claiming.sql.js';
import { pruneJobs } from './job.pruning.js';
import * as reading from './job.reading.sql.js';
import { retryJob } from './job.settlement.sql.js';

const BATCH = { min: 0, max: MAX_BATCH };

/** A job that was completed, and the notification that tells its user. */
export interface CompletedJob {
  /** The job as it is now. */
  readonly job: VideoJob;
  /** The notification that was logged with it. */
  readonly notification: NotificationLog;
}

/** The answer of `completeJobs` for one completion: the completed job, or why it was refused. */
export type CompletionVerdict =
  | CompletedJob
  | {
      /** Why this completion was refused. */
      readonly error: JobRefusal;
    };

/** A page of jobs, newest first. */
export interface JobPage {
  /** The jobs of this page. */
  readonly jobs: VideoJob[];
  /** What to pass as `cursor` for the next page; null when this is the last. */
  readonly nextCursor: string | null;
}

/**
 * Creates jobs and moves them through their life. A job's final status and its notification are written
 * together, only legal moves are made, and writes of an older run are refused. Each call is one statement
 * wherever one statement is enough.
 *
 * Every method can also reject with `InvalidInputError`, `DatabaseUnavailableError`, `StatementTimeoutError`,
 * `TransactionConflictError`, and `MigrationError` if the tables are missing. A method that takes
 * `options.manager` joins that manager's transaction. Without it, calls of `createJob` and `completeJob`
 * that come at the same time may share a statement and its commit. The failure of one call never affects
 * the others.
 */
export class JobService {
  /** Whether plans are kept by name. */
  readonly preparedStatements: boolean;
  /** The schemes that the URLs of videos and results may have. */
  readonly urlSchemes: readonly string[];
  /** The class that checks the parameters of new jobs; undefined if there is none. */
  readonly jobParameters: JobParametersClass | undefined;
  private readonly db: SqlRunner;
  private readonly keptLeases: KeptLeases;
  private readonly creations: RequestBatcher<CreateJobInput, VideoJob>;
  private readonly completions: RequestBatcher<Completion, SettledJob>;
  private readonly rotation = new Rotation();
  /** The default holder of the leases that this service takes; unique to one process incarnation. */
  readonly workerId = `${hostname().slice(0, 128)}:${process.pid}:${randomUUID()}`;

  /**
   * @param dataSource - an initialized data source with this package's entities
   * @param options - `preparedStatements`: whether plans are kept by name (default true,
   *   unless the environment says `DB_PREPARED_STATEMENTS=false`);
   *   `replyTimeoutMs`: how long to wait for the reply to a statement outside of `options.manager`,
   *   before the database counts as unavailable (default 30,000 ms);
   *   `urlSchemes`: which schemes URLs may have (default https, http, s3, gs, file);
   *   `jobParameters`: a class whose rules the parameters of new jobs must meet (default none);
   *   `currentManager`: finds the transaction that a call joins if it has no `manager` (default none);
   *   `runner`: internal, runs the statements
   */
  constructor(
    readonly dataSource: DataSource,
    {
      runner,
      preparedStatements,
      replyTimeoutMs,
      urlSchemes,
      jobParameters,
      currentManager,
    }: ServiceOptions = {},
  ) {
    this.preparedStatements = preparedStatements ?? preparedByDefault();
    this.db =
      runner ??
      new SqlRunner(dataSource, this.preparedStatements, { replyTimeoutMs, currentManager });
    this.urlSchemes = urlSchemes ?? DEFAULT_URL_SCHEMES;
    this.jobParameters = jobParameters;
    this.keptLeases = new KeptLeases(
      (wait) => new SqlRunner(dataSource, this.preparedStatements, { replyTimeoutMs: wait }),
    );
    this.creations = creatingTogether(this.db);
    this.completions = completionsTogether(this.db);
  }

  /**
   * Creates a job that is due now, or at `availableAt`. With a `jobId` you can repeat the call safely: if
   * that job exists with equal content, the call returns it.
   *
   * @throws UserNotFoundError if the user does not exist; the caller's transaction stays usable
   * @throws JobConflictError if the `jobId` exists with another userId, filename, videoUrl or parameters
   */
  async createJob(input: CreateJobInput, options?: TransactionOptions): Promise<VideoJob> {
    const operation = 'createJob';
    const tx = this.db.readOptions(operation, options);
    const job = readInput(operation, CreateJobInput, input);
    const url = { property: 'videoUrl', url: job.videoUrl };
    requireSchemes(operation, this.urlSchemes, [url]);
    if (this.jobParameters !== undefined) {
      const given = { path: 'parameters', parameters: job.parameters };
      await requireParameters(operation, this.jobParameters, [given]);
    }
    const isAlone = tx.manager !== undefined || job.jobId !== undefined;
    return isAlone ? createJob(this.db, job, tx) : this.creations.run(job);
  }

  /**
   * Creates up to 10,000 jobs in one statement: all of them or none. They are returned in the order
   * of the inputs. A `jobId` works as in {@link createJob}.
   *
   * @throws UserNotFoundError naming each user that does not exist
   * @throws JobConflictError for the first `jobId` that exists with other content
   */
  async createJobs(
    inputs: readonly CreateJobInput[],
    options?: TransactionOptions,
  ): Promise<VideoJob[]> {
    const operation = 'createJobs';
    const tx = this.db.readOptions(operation, options);
    const jobs = readList(operation, 'inputs', inputs, BATCH, (input, path, problems) =>
      collect(CreateJobInput, input, path, true, problems),
    );
    const urls = jobs.map(({ videoUrl }, index) => {
      return { property: `inputs.${index}.videoUrl`, url: videoUrl };
    });
    requireSchemes(operation, this.urlSchemes, urls);
    if (this.jobParameters !== undefined) {
      const given = jobs.map(({ parameters }, index) => {
        return { path: `inputs.${index}.parameters`, parameters };
      });
      await requireParameters(operation, this.jobParameters, given);
    }
    return createJobs(this.db, operation, jobs, tx);
  }

  /**
   * Reads a job.
   *
   * @param options - `userId`: another user's job is "not found"; `replica`: read from a replica
   * @throws JobNotFoundError
   */
  async getJob(jobId: string, options: GetJobOptions = {}): Promise<VideoJob> {
    const operation = 'getJob';
    const { userId, ...tx } = this.db.readOptions(operation, options, GetJobOptions);
    const id = readId(operation, 'jobId', jobId);
    const [row] = await this.db.run<Row>(operation, reading.getJob, [id, userId ?? null], tx);
    if (row === undefined) throw new JobNotFoundError(id);
    return toJob(row);
  }

  /**
   * Lists jobs, newest first, one page at a time. A late page costs as much as the first one.
   *
   * @param options - `replica`: read from a replica, which may be a moment behind
   */
  async listJobs(input: ListJobsInput = {}, options?: ReadOptions): Promise<JobPage> {
    const operation = 'listJobs';
    const tx = this.db.readOptions(operation, options, ReadOptions);
    const { userId, status, limit, cursor } = readInput(operation, ListJobsInput, input);
    const after = cursor ? decodeCursor(cursor) : undefined;
    const filters = { userId: userId !== undefined, status: status !== undefined };
    const pageSize = limit ?? DEFAULT_LIMIT;
    const values = [userId, status, after?.createdAt.toISOString(), after?.id];
    const rows = await this.db.run<Row>(
      operation,
      reading.listJobs(filters, after !== undefined),
      [pageSize + 1, ...values.filter((value) => value !== undefined)],
      tx,
    );
    const jobs = rows.slice(0, pageSize).map((row) => toJob(row));
    const last = rows.length > pageSize ? jobs.at(-1) : undefined;
    const nextCursor =
      last === undefined ? null : encodeCursor({ createdAt: last.createdAt, id: last.jobId });
    return { jobs, nextCursor };
  }

  /**
   * Counts jobs by status; a status without jobs counts 0.
   *
   * @param options - `replica`: read from a replica, which may be a moment behind
   */
  async countJobs(
    input: CountJobsInput = {},
    options?: ReadOptions,
  ): Promise<Record<JobStatus, number>> {
    const operation = 'countJobs';
    const tx = this.db.readOptions(operation, options, ReadOptions);
    const { userId } = readInput(operation, CountJobsInput, input);
    const rows = await this.db.run<{ status: JobStatus; count: number }>(
      operation,
      userId === undefined ? reading.countJobs : reading.countJobsOfUser,
      userId === undefined ? [] : [userId],
      tx,
    );
    const counts = { pending: 0, processing: 0, completed: 0, failed: 0 };
    for (const { status, count } of rows) counts[status] = count;
    return counts;
  }

  /**
   * Starts a job whose id came from a broker. A pending job becomes processing. A job whose lease has ended
   * begins a new run. The job is started even if it is scheduled for later or waits for its next try.
   *
   * Pass `leaseMs` to give the job a lease, and keep it with `keepLease`. If you pass only one of `leaseMs`
   * and `workerId`, the other one has its default. Without both, the job has no lease, and no worker takes
   * it over: if its owner dies, give it back with `releaseJob`. Never joins a transaction, because after a
   * rollback the same run would be issued twice.
   *
   * @throws JobNotFoundError
   * @throws InvalidJobTransitionError if the job is completed or failed, or if another run holds it
   */
  async startJob(jobId: string, input: StartJobInput = {}): Promise<VideoJob> {
    const operation = 'startJob';
    const id = readId(operation, 'jobId', jobId);
    const { leaseMs, workerId } = readInput(operation, StartJobInput, input);
    const leased = leaseMs !== undefined || workerId !== undefined;
    const [row] = await this.db.run<Row>(operation, startJob, [
      id,
      leased ? (workerId ?? this.workerId) : null,
      leased ? (leaseMs ?? DEFAULT_LEASE_MS) : 0,
    ]);
    const job = movedJob(id, 'started', row);
    announceMoved(this.db.dataSource, undefined, () => [job]);
    return job;
  }

  /**
   * Claims due jobs: first the jobs whose leases have ended, then the pending jobs. In both groups the job
   * that has waited longest comes first. With `order: 'fair'` pending jobs are taken from one user after the
   * other, the oldest job of each. `maxRunningPerUser` limits how many jobs of a user are processing at once.
   *
   * A claimed job has a lease. If the lease ends before the job is settled, any worker may claim the job
   * again, as a new run. A job that was tried `maxAttempts` times fails in this call, with its notification.
   * Never joins a transaction, and never waits for one: it passes over locked rows.
   *
   * @returns the jobs in this order; an empty array if nothing is due, or while processing is paused
   */
  async claimJobs(input: ClaimJobsInput = {}): Promise<VideoJob[]> {
    const operation = 'claimJobs';
    const { limit, leaseMs, workerId, maxAttempts, order, maxRunningPerUser } = readInput(
      operation,
      ClaimJobsInput,
      input,
    );
    const claim = {
      limit: limit ?? DEFAULT_LIMIT,
      leaseMs: leaseMs ?? DEFAULT_LEASE_MS,
      workerId: workerId ?? this.workerId,
      maxAttempts: maxAttempts ?? DEFAULT_MAX_ATTEMPTS,
    };
    if (maxRunningPerUser === undefined) {
      return order === 'fair'
        ? claimAnyInTurn(this.db, claim, this.rotation)
        : claimAny(this.db, claim);
    }
    if (order === 'age') {
      const message = `needs order 'fair': leave the order out, or the limit`;
      throw new InvalidInputError(operation, [{ property: 'maxRunningPerUser', message }]);
    }
    return claimLostThen(this.db, claim, (rest) =>
      claimInTurn(this.db, rest, this.rotation, maxRunningPerUser),
    );
  }

  /**
   * Extends the leases of jobs that are still held. One statement does so and waits for no lock: a locked
   * row keeps its deadline. Never joins a transaction.
   *
   * @returns the ids of the jobs that are still held: their leases were extended, or have not ended yet.
   *   Stop the work on the other jobs
   */
  async extendLeases(jobs: readonly JobHandle[], input: ExtendLeasesInput): Promise<string[]> {
    const operation = 'extendLeases';
    const handles = readList(operation, 'jobs', jobs, BATCH, (job, path, problems) =>
      collect(JobHandle, job, path, false, problems),
    );
    const { leaseMs } = readInput(operation, ExtendLeasesInput, input);
    const held = await extendLeases(this.db, handles, leaseMs);
    return held
      .filter(({ cancelled, deleted }) => !cancelled && !deleted)
      .map(({ jobId }) => jobId);
  }

  /**
   * Keeps the lease of a job, for a consumer of a broker. Extends the lease at once, and then every third of
   * `leaseMs`, on a connection of the application's pool. Call it as soon as the job is started. Call
   * `stop()` when the outcome is recorded.
   *
   * @param job - started by `startJob` with `leaseMs`, or claimed
   * @param options - `leaseMs`: how long the lease is each time (default 30,000)
   * @returns `signal`, aborted when the lease is lost (`LeaseEndedError`) or the job was cancelled or
   *   deleted (`JobCancelledError`); and `stop`
   * @throws InvalidInputError at once, also for a job that was started without a lease
   */
  keepLease(job: JobHandle, options: KeepLeaseOptions = {}): KeptLease {
    const operation = 'keepLease';
    const { leaseMs } = readInput(operation, KeepLeaseOptions, options, { path: 'options' });
    const handle = readHandle(operation, job);
    if (handle.workerId === null) {
      const message = 'is null: the job was started without a lease, so start it with leaseMs';
      throw new InvalidInputError(operation, [{ property: 'job.workerId', message }]);
    }
    return this.keptLeases.keep(handle, leaseMs);
  }

  /**
   * Completes a job and writes its success notification, in one statement.
   *
   * @throws JobNotFoundError, LeaseLostError, InvalidJobTransitionError; nothing was written
   */
  async completeJob(
    job: JobHandle,
    result: JobResult,
    options?: TransactionOptions,
  ): Promise<CompletedJob> {
    const operation = 'completeJob';
    const tx = this.db.readOptions(operation, options);
    const handle = readHandle(operation, job);
    const completion = { handle, result: readInput(operation, JobResult, result) };
    const url = { property: 'resultUrl', url: completion.result.resultUrl };
    requireSchemes(operation, this.urlSchemes, [url]);
    const settled =
      tx.manager === undefined
        ? this.completions.run(completion)
        : completeJob(this.db, completion, tx);
    return settled as Promise<CompletedJob>;
  }

  /**
   * Completes up to 10,000 jobs, each with its notification, in one statement. If a completion is refused,
   * the others are still done.
   *
   * @returns a verdict for each completion, in order
   */
  async completeJobs(
    completions: readonly JobCompletion[],
    options?: TransactionOptions,
  ): Promise<CompletionVerdict[]> {
    const operation = 'completeJobs';
    const tx = this.db.readOptions(operation, options);
    const seen = new Set<string>();
    const batch = readList(
      operation,
      'completions',
      completions,
      BATCH,
      (entry, path, problems) => {
        const { job, result } = (entry ?? {}) as Partial<JobCompletion>;
        const handle = collect(JobHandle, job, `${path}.job`, false, problems);
        requireOnce(seen, handle, `${path}.job`, problems);
        return {
          handle,
          next: JobStatus.COMPLETED,
          result: collect(JobResult, result, `${path}.result`, true, problems),
        };
      },
    );
    if (batch.length === 0) return [];
    const urls = batch.map(({ result: { resultUrl } }, index) => {
      return { property: `completions.${index}.result.resultUrl`, url: resultUrl };
    });
    requireSchemes(operation, this.urlSchemes, urls);
    const verdicts = await settleJobs(this.db, operation, 'completed', batch, tx);
    return verdicts as CompletionVerdict[];
  }

  /**
   * Fails a job. With `retryInMs` the job becomes pending again, is due after that time, and gets no
   * notification. Without it the job fails for good, and the same statement writes the failure notification.
   *
   * @throws JobNotFoundError, LeaseLostError, InvalidJobTransitionError; nothing was written
   */
  async failJob(
    job: JobHandle,
    failure: JobFailure,
    options?: TransactionOptions,
  ): Promise<SettledJob> {
    const operation = 'failJob';
    const tx = this.db.readOptions(operation, options);
    const handle = readHandle(operation, job);
    const { errorMessage, retryInMs } = readInput(operation, JobFailure, failure);
    const next = retryInMs === undefined ? JobStatus.FAILED : JobStatus.PENDING;
    const settlement = { handle, next, errorMessage, delayMs: retryInMs };
    return settleJob(this.db, operation, 'failed', settlement, tx);
  }

  /**
   * Gives a job back unfinished: it is pending and due at once, and the attempt is not counted.
   *
   * @throws JobNotFoundError, LeaseLostError, InvalidJobTransitionError; nothing was written
   */
  async releaseJob(job: JobHandle, options?: TransactionOptions): Promise<VideoJob> {
    const operation = 'releaseJob';
    const tx = this.db.readOptions(operation, options);
    const handle = readHandle(operation, job);
    const release = { handle, next: JobStatus.PENDING, refund: 1 };
    return (await settleJob(this.db, operation, 'released', release, tx)).job;
  }

  /**
   * Makes a failed job pending again. It is due at once and has all of its tries again. The notification of
   * the failed run stays.
   *
   * @param options - `userId`: another user's job is "not found"
   * @throws JobNotFoundError
   * @throws InvalidJobTransitionError if it is not failed
   */
  async retryJob(jobId: string, options: OwnedJobOptions = {}): Promise<VideoJob> {
    const operation = 'retryJob';
    const { userId, ...tx } = this.db.readOptions(operation, options, OwnedJobOptions);
    const id = readId(operation, 'jobId', jobId);
    const [row] = await this.db.run<Row>(operation, retryJob, [id, userId ?? null], tx);
    const job = movedJob(id, 'retried', row);
    announce(this.db.dataSource, 'jobs', 1, tx.manager, false);
    announceMoved(this.db.dataSource, tx.manager, () => [job]);
    return job;
  }

  /**
   * Cancels a job that is pending or processing. One statement sets it to failed with `cancelledAt`, and
   * writes the failure notification. The cancellation takes a new run number, so no earlier run can write
   * any more. A worker that runs the job learns of it at its next heartbeat, after a third of its lease at
   * most, and at once if it is in this process. A job that is cancelled already is returned unchanged.
   *
   * @param input - `userId`: another user's job is "not found"; `reason`: 1 to 1,000 characters, which
   *   the job's `errorMessage` then has
   * @throws JobNotFoundError
   * @throws InvalidJobTransitionError if the job is completed, or if it failed and was not cancelled
   */
  async cancelJob(
    jobId: string,
    input: CancelJobInput = {},
    options?: TransactionOptions,
  ): Promise<VideoJob> {
    const operation = 'cancelJob';
    const tx = this.db.readOptions(operation, options);
    const { userId, reason } = readInput(operation, CancelJobInput, input);
    return cancelJob(this.db, readId(operation, 'jobId', jobId), { userId, reason }, tx);
  }

  /**
   * Makes the failed jobs that match a filter pending again, as {@link retryJob} does for one job. The
   * oldest come first, in batches of 1,000. Each batch is a separate transaction. Cancelled jobs stay
   * cancelled. Never joins a transaction. After an error the earlier batches are done: call it again.
   *
   * @param filter - which jobs; `limit`: how many at the most; `dryRun`: only count them
   * @returns how many matched, and how many of them were changed here
   */
  async retryJobs(filter: RetryJobsFilter): Promise<BulkOutcome> {
    return retryJobs(this.db, readInput('retryJobs', RetryJobsFilter, filter));
  }

  /**
   * Cancels the pending and processing jobs that match a filter, as {@link cancelJob} does for one job. The
   * oldest come first, in batches of 1,000. Each batch is a separate transaction. Never joins a transaction.
   * After an error the earlier batches are done: call it again.
   *
   * @param filter - which jobs; `reason`: what their users read; `limit`: how many at the most; `dryRun`:
   *   only count them
   * @returns how many matched, and how many of them were changed here
   */
  async cancelJobs(filter: CancelJobsFilter): Promise<BulkOutcome> {
    return cancelJobs(this.db, readInput('cancelJobs', CancelJobsFilter, filter));
  }

  /**
   * Writes the progress of up to 10,000 runs in one statement. It waits for no lock: a locked row keeps its
   * old progress. A handler of the worker calls `context.progress` instead. Never joins a transaction.
   *
   * @param reports - `job`; `percent`: 0 to 100; `message`: up to 255 characters, none if left out
   * @returns the ids of the jobs whose runs are still held; stop the work on the others
   */
  async reportProgress(reports: readonly ProgressReport[]): Promise<string[]> {
    const operation = 'reportProgress';
    const seen = new Set<string>();
    const read = readList(operation, 'reports', reports, BATCH, (entry, path, problems) => {
      const { job, ...rest } = (entry ?? {}) as Partial<ProgressReport>;
      const handle = collect(JobHandle, job, `${path}.job`, false, problems);
      requireOnce(seen, handle, `${path}.job`, problems);
      return { ...collect(JobProgress, rest, path, true, problems), job: handle };
    });
    const reported = await reportProgress(this.db, read);
    return reported.map(({ jobId }) => jobId);
  }

  /**
   * Runs the application's own writes only if a run is still held. Locks the row of the job until the
   * transaction ends, so that meanwhile no other run begins and nobody cancels the job. Keep the transaction
   * short: the lease is not extended while the row is locked.
   *
   * @param manager - of an open transaction, in which `work` writes
   * @param work - the function with the writes; it is called after the row is locked
   * @returns what `work` returns
   * @throws JobNotFoundError
   * @throws LeaseLostError if another run or worker holds the job, or it is cancelled or finished; `work`
   *   was not called, and the transaction stays usable
   */
  async whileHeld<T>(job: JobHandle, manager: EntityManager, work: () => Promise<T>): Promise<T> {
    const operation = 'whileHeld';
    readInput(operation, TransactionOptions, { manager });
    const handle = readHandle(operation, job);
    if (typeof work !== 'function') {
      throw new InvalidInputError(operation, [{ property: 'work', message: 'must be a function' }]);
    }
    return whileHeld(this.db, handle, manager, work);
  }

  /**
   * Pauses processing for all workers: no job is claimed until `resumeProcessing` is called. Runs that have
   * begun go on, `startJob` works, and notifications are delivered. A second call replaces the reason.
   *
   * @param input - `reason`: 1 to 1,000 characters, kept in `processing_state`
   */
  async pauseProcessing(input: PauseProcessingInput = {}): Promise<void> {
    const { reason } = readInput('pauseProcessing', PauseProcessingInput, input);
    await pauseProcessing(this.db, reason);
  }

  /** Ends a pause. Wakes the workers that wait. Does nothing if processing is not paused. */
  async resumeProcessing(): Promise<void> {
    await resumeProcessing(this.db);
  }

  /**
   * Watches a job. The stream begins with the present state, then has each change of the status, the run or
   * the progress, and ends with the final state. All watchers of a process share one statement a second.
   * The stream has the changes by this process at once. If `FrameForgeDatabaseModule` has `listen`, it also
   * has the changes by processes with `notifyWorkers` at once. While the database cannot be reached, the
   * stream waits. It ends when the application closes.
   *
   * @param input - `userId`: another user's job is "not found"
   * @returns the states; for Nest's `@Sse`, map each to `{ data }`. The stream fails with an
   *   InvalidInputError, with a JobNotFoundError (also when the job is removed), or with an error of the
   *   database that waiting cannot end
   */
  watchJob(jobId: string, input: WatchJobInput = {}): Observable<JobView> {
    const operation = 'watchJob';
    return watchJob(watchOn(this.dataSource, this.preparedStatements), () => {
      const { userId } = readInput(operation, WatchJobInput, input);
      const id = readId(operation, 'jobId', jobId).toLowerCase();
      return { jobId: id, userId: userId?.toLowerCase() };
    });
  }

  /**
   * Watches the jobs of a user. The stream begins with the present state of the 100 newest jobs, newest
   * first. Then it has each change of these jobs, and of jobs that are created later. It has the end of a
   * completed job once, and then does not look at the job again. The stream does not end by itself.
   * Everything else is as in {@link watchJob}.
   *
   * Another process may create a job in a transaction that takes more than 10 s. Without `listen`, the stream
   * has this job up to 10 s after the commit. If the transaction takes more than 15 minutes, the stream never
   * has it.
   */
  watchJobs(input: WatchJobsInput): Observable<JobView> {
    return watchJobs(watchOn(this.dataSource, this.preparedStatements), () => {
      const { userId } = readInput('watchJobs', WatchJobsInput, input);
      return { userId: userId.toLowerCase() };
    });
  }

  /**
   * Lists the errors of a job's runs that failed or whose worker was lost, in the order of the runs.
   *
   * @param options - `userId`: another user's job is "not found"
   * @returns an empty array when no run failed
   * @throws JobNotFoundError
   */
  async listAttemptErrors(
    jobId: string,
    options: OwnedJobOptions = {},
  ): Promise<JobAttemptError[]> {
    const operation = 'listAttemptErrors';
    const { userId, ...tx } = this.db.readOptions(operation, options, OwnedJobOptions);
    const id = readId(operation, 'jobId', jobId);
    const values = [id, userId ?? null];
    const rows = await this.db.run<Row>(operation, reading.listAttemptErrors, values, tx);
    if (rows.length === 0) throw new JobNotFoundError(id);
    return rows
      .filter((row) => row['runNumber'] !== null)
      .map((row) => hydrate(JobAttemptError, ATTEMPT_ERROR_COLUMNS, row));
  }

  /**
   * Removes completed and failed jobs with their notifications and errors, in batches. Each batch is a
   * separate transaction. It passes over rows that others have locked. A job whose notification is not
   * delivered yet stays.
   *
   * @param input - `olderThan`: jobs that ended before this time; `status`: only those; `dryRun`: only
   *   count them
   * @returns how many jobs were removed, or would be
   */
  async pruneJobs(input: PruneJobsInput): Promise<number> {
    const operation = 'pruneJobs';
    return pruneJobs(this.db, readInput(operation, PruneJobsInput, input));
  }
}

/** Refuses a second entry about one job in a batch: one statement cannot update a row twice. */
function requireOnce(
  seen: Set<string>,
  { jobId }: Partial<JobHandle>,
  path: string,
  problems: InputProblem[],
): void {
  const id = jobId?.toLowerCase();
  if (id === undefined) return;
  if (seen.has(id)) problems.push({ property: `${path}.jobId`, message: 'is in this batch twice' });
  seen.add(id);
}

function readHandle(operation: string, job: unknown): JobHandle {
  return readInput(operation, JobHandle, job, { strict: false, path: 'job' });
}
