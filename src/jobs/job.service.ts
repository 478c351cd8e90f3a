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

/** What `completeJobs` says of one completion. */
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
 * Creates jobs and moves them through their life, by the rules of the design: atomic, legal, fenced,
 * bounded, idempotent. Each call is one statement wherever one can do it.
 *
 * Every method can also reject with `InvalidInputError`, `DatabaseUnavailableError`,
 * `TransactionConflictError`, and `MigrationError` where the tables are missing. Those that take
 * `options.manager` become part of that manager's transaction. Without it, calls of `createJob` and
 * `completeJob` that come at the same time may share a statement, and its commit; what becomes of one
 * of them is no matter of the others.
 */
export class JobService {
  /** Whether plans are kept by name. */
  readonly preparedStatements: boolean;
  /** The schemes that the URLs of videos and results may have. */
  readonly urlSchemes: readonly string[];
  /** The class whose rules the parameters of new jobs must meet; undefined if there is none. */
  readonly jobParameters: JobParametersClass | undefined;
  private readonly db: SqlRunner;
  private readonly keptLeases: KeptLeases;
  private readonly creations: RequestBatcher<CreateJobInput, VideoJob>;
  private readonly completions: RequestBatcher<Completion, SettledJob>;
  private readonly rotation = new Rotation();
  /** Who holds the leases that this service takes, unless the caller names another holder. */
  readonly workerId = `${hostname().slice(0, 128)}:${process.pid}:${randomUUID()}`;

  /**
   * @param dataSource - an initialized data source with this package's entities
   * @param options - `preparedStatements`: whether plans are kept by name (default true,
   *   unless the environment says `DB_PREPARED_STATEMENTS=false`);
   *   `replyTimeoutMs`: how long to wait for the reply to a statement outside of `options.manager`,
   *   before the database counts as unavailable (default 30,000 ms);
   *   `urlSchemes`: which schemes URLs may have (default https, http, s3, gs, file);
   *   `jobParameters`: a class whose rules the parameters of new jobs must meet (default none);
   *   `currentManager`: tells the transaction that a call joins if it names no `manager` (default none);
   *   `runner`: what runs the statements, for the inside of this package
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
   * Creates a job, due now or at `availableAt`. With a `jobId` the call can be repeated safely: if
   * that job exists with the same content, it is returned.
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
   * Lists jobs, newest first, a page at a time. A page costs the same however deep it is.
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
   * Starts the job that a broker named: pending → processing, or a new run of a job whose lease is
   * over. Give it a lease by `leaseMs` and keep that by `keepLease`. Without `leaseMs` and `workerId` the
   * job has none, and is never taken from its owner: if that dies, `releaseJob` gives the job back. With
   * one of the two, the other has its default. Whoever names a job means it now: one that waits for its
   * `availableAt`, scheduled or for another try, is started too. Never joins a transaction: a run that is
   * rolled back would be issued twice.
   *
   * @throws JobNotFoundError
   * @throws InvalidJobTransitionError if it is final, or somebody else is working on it
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
   * Claims jobs that are due: first those whose workers were lost, then the pending ones; of each,
   * those that have waited longest first. With `order: 'fair'` the pending ones are taken of one user
   * after the other, the oldest of each, so that nobody waits behind the backlog of another; a user who
   * is alone gets all. `maxRunningPerUser` limits how many jobs of a user are processing at once.
   *
   * A claimed job is leased: when the lease ends before the job does, anybody may claim it again, as a new
   * run. A job that has been tried `maxAttempts` times fails here, with its notification. Never joins a
   * transaction, and never waits for one: rows that are locked are passed over.
   *
   * @returns the jobs in that order; an empty array when nothing is due, or while processing is paused
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
      const { items } =
        order === 'fair'
          ? await claimAnyInTurn(this.db, claim, this.rotation)
          : await claimAny(this.db, claim);
      return items;
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
   * Extends the leases of jobs that are still held, in one statement that waits for no lock: a row that
   * is locked keeps its deadline. Never joins a transaction.
   *
   * @returns the ids of the jobs still held, which are those whose leases were extended or have not
   *   ended yet; drop the work on the others
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
   * Keeps the lease of a job, for a consumer of a broker, as a worker does: extends it at once, and then
   * three times as often as it ends, on a connection of the application's pool. Call it as soon as the job
   * is started, and `stop()` when its outcome is recorded, whatever that is.
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
   * Completes a job, and logs the notification of it, in one statement.
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
   * Completes up to 10,000 jobs, each with its notification, in one statement: those that are refused
   * do not hold up the others.
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
   * Fails a job. With `retryInMs` it becomes pending again and is due after that time, without a
   * notification; else it is final, and the notification of it is logged in the same statement.
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
   * Makes a failed job pending again, due at once, with all of its tries. The notification of the
   * failed run stays.
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
   * Cancels a job that is pending or processing: it is failed for good, with `cancelledAt` and the
   * notification of that, in one statement. The cancellation has a run number of its own, so that no run
   * of before can write any more. The worker that is at it is told at its next heartbeat, at the latest
   * after a third of its lease; at once in this process. A job that is cancelled already is returned as
   * it is.
   *
   * @param input - `userId`: another user's job is "not found"; `reason`: 1 to 1,000 characters, which
   *   the job's `errorMessage` then has
   * @throws JobNotFoundError
   * @throws InvalidJobTransitionError if it is completed, or failed without having been cancelled
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
   * Makes failed jobs pending again, as {@link retryJob} does for one: those that a filter finds, the
   * oldest first, in batches of 1,000 that are transactions of their own. Jobs that were cancelled stay.
   * Never joins a transaction. What an error interrupts is done up to there; call it again.
   *
   * @param filter - which jobs; `limit`: how many at the most; `dryRun`: only count them
   * @returns how many matched, and how many of them were changed here
   */
  async retryJobs(filter: RetryJobsFilter): Promise<BulkOutcome> {
    return retryJobs(this.db, readInput('retryJobs', RetryJobsFilter, filter));
  }

  /**
   * Cancels jobs that are pending or processing, as {@link cancelJob} does for one: those that a filter
   * finds, the oldest first, in batches of 1,000 that are transactions of their own. Never joins a
   * transaction. What an error interrupts is done up to there; call it again.
   *
   * @param filter - which jobs; `reason`: what their users read; `limit`: how many at the most; `dryRun`:
   *   only count them
   * @returns how many matched, and how many of them were changed here
   */
  async cancelJobs(filter: CancelJobsFilter): Promise<BulkOutcome> {
    return cancelJobs(this.db, readInput('cancelJobs', CancelJobsFilter, filter));
  }

  /**
   * Reports how far runs have come, up to 10,000 in one statement. It waits for no lock: a row that is
   * locked keeps what it has. A handler of the worker calls `context.progress` instead. Never joins a
   * transaction.
   *
   * @param reports - `job`; `percent`: 0 to 100; `message`: up to 255 characters, none if left out
   * @returns the ids of the jobs whose runs are still at work; drop the work on the others
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
   * Runs writes of the application's own only if a run is still held, and locks its job's row until the
   * transaction ends, so that no other run can begin and no cancellation come in between. Keep the
   * transaction short: while the row is locked, its lease is not extended.
   *
   * @param manager - of an open transaction, in which `work` writes
   * @param work - is called once the row is locked
   * @returns what `work` returns
   * @throws JobNotFoundError
   * @throws LeaseLostError if the job is in another run, another worker's, cancelled or finished; `work`
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
   * Pauses processing, for all workers: until `resumeProcessing` no job is claimed. Jobs at work go on,
   * `startJob` works, and notifications are delivered. Paused again, the reason is replaced.
   *
   * @param input - `reason`: 1 to 1,000 characters, kept in `processing_state`
   */
  async pauseProcessing(input: PauseProcessingInput = {}): Promise<void> {
    const { reason } = readInput('pauseProcessing', PauseProcessingInput, input);
    await pauseProcessing(this.db, reason);
  }

  /** Ends a pause: workers claim again, and those that wait are woken. It does nothing if there is none. */
  async resumeProcessing(): Promise<void> {
    await resumeProcessing(this.db);
  }

  /**
   * Watches a job: its present state at once, then each change of its status, run or progress, and the
   * end with its final one. All watchers of a process share one statement a second; what changes in this
   * process is told at once, and with `listen` of `FrameForgeDatabaseModule` what changes in others that
   * have `notifyWorkers`. While the database is away the stream waits; it ends with the application.
   *
   * @param input - `userId`: another user's job is "not found"
   * @returns for Nest's `@Sse`, mapped to `{ data }`; its error is an InvalidInputError, a
   *   JobNotFoundError (also when the job is removed), or what the database says that no wait mends
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
   * Watches the jobs of a user: the present state of the 100 newest, newest first, then each change of
   * them and of those that come. One that another process creates in a transaction that takes more than 10 s
   * is told up to 10 s after its commit, and not at all after 15 minutes, unless `listen` is set. A completed
   * job is told once more and not looked at again. The stream has no end of its own. In all else it is as
   * {@link watchJob}.
   */
  watchJobs(input: WatchJobsInput): Observable<JobView> {
    return watchJobs(watchOn(this.dataSource, this.preparedStatements), () => {
      const { userId } = readInput('watchJobs', WatchJobsInput, input);
      return { userId: userId.toLowerCase() };
    });
  }

  /**
   * Reads what went wrong in the failed and lost runs of a job, in the order of the runs.
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
   * Removes completed and failed jobs, with their notifications and errors, in batches that are each a
   * transaction of its own. It locks only the rows that it removes, and passes over rows that others
   * have locked. A job whose notification is still to be delivered stays.
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

/** Two entries about the same row would be two updates of it in one statement. */
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
