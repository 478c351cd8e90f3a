import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { DataSource } from 'typeorm';
import { hydrate } from '../connection/hydrate.js';
import { readOptions, SqlRunner } from '../connection/sql-runner.js';
import type { TransactionOptions } from '../connection/sql-runner.js';
import {
  InvalidJobTransitionError,
  JobConflictError,
  JobNotFoundError,
  LeaseLostError,
  TransactionConflictError,
  UserNotFoundError,
} from '../errors.js';
import { decodeCursor, encodeCursor } from '../input/cursor.js';
import {
  DEFAULT_LEASE_MS,
  DEFAULT_LIMIT,
  DEFAULT_MAX_ATTEMPTS,
  MAX_BATCH,
} from '../input/defaults.js';
import { collect, readId, readInput, readList } from '../input/input.js';
import { NOTIFICATION_COLUMNS } from '../notifications/notification.sql.js';
import { JobStatus, NotificationLog, VideoJob } from '../schema/entities/index.js';
import {
  ClaimJobsInput,
  CountJobsInput,
  CreateJobInput,
  ExtendLeasesInput,
  GetJobFilter,
  JobFailure,
  JobHandle,
  JobResult,
  ListJobsInput,
  StartJobInput,
} from './job.inputs.js';
import type { JobCompletion } from './job.inputs.js';
import * as statements from './job.sql.js';
import { JOB_COLUMNS } from './job.sql.js';

type Row = Record<string, unknown>;

/** A job that was finished, and the notification that tells its user. */
export interface FinishedJob {
  readonly job: VideoJob;
  readonly notification: NotificationLog;
}

/** What `completeJobs` says of one completion. */
export type CompletionVerdict =
  FinishedJob | { readonly error: JobNotFoundError | LeaseLostError | InvalidJobTransitionError };

/** A page of jobs, newest first. */
export interface JobPage {
  readonly jobs: VideoJob[];
  /** What to pass as `cursor` for the next page; null when this is the last. */
  readonly nextCursor: string | null;
}

/** One move out of `processing`: the parameters of `settleJobs` that are not the handle. */
interface Outcome {
  readonly next: JobStatus;
  readonly resultUrl?: string;
  readonly frameCount?: number;
  readonly errorMessage?: string;
  readonly delayMs?: number;
  readonly refund?: number;
}

/**
 * Creates jobs and moves them through their life, by the rules of the design: atomic, legal, fenced,
 * bounded, idempotent. Each call is one statement wherever one can do it.
 *
 * Every method can also reject with `InvalidInputError`, `DatabaseUnavailableError`,
 * `TransactionConflictError`, and `MigrationError` where the tables are missing. Those that take
 * `options.manager` become part of that manager's transaction.
 */
export class JobService {
  private readonly db: SqlRunner;
  private readonly ownWorkerId = `${hostname().slice(0, 128)}:${process.pid}:${randomUUID()}`;

  /**
   * @param dataSource - an initialized data source with this package's entities
   * @param options - `preparedStatements`: whether plans are kept by name (default true)
   */
  constructor(dataSource: DataSource, options: { preparedStatements?: boolean } = {}) {
    this.db = new SqlRunner(dataSource, options.preparedStatements ?? true);
  }

  /**
   * Creates a job, due now or at `availableAt`. With a `jobId` the call can be repeated safely: if
   * that job exists with the same content, it is returned.
   *
   * @throws UserNotFoundError if the user does not exist; the caller's transaction stays usable
   * @throws JobConflictError if the `jobId` exists with another userId, filename or videoUrl
   */
  async createJob(input: CreateJobInput, options?: TransactionOptions): Promise<VideoJob> {
    const operation = 'createJob';
    const tx = readOptions(operation, options);
    const job = readInput(operation, CreateJobInput, input);
    const values = [job.jobId, job.userId, job.filename, job.videoUrl, timestamp(job.availableAt)];
    if (job.jobId === undefined) {
      const [created] = await this.db.run<Row>(operation, statements.createJob, values, tx);
      if (created === undefined) throw new UserNotFoundError([job.userId]);
      return toJob(created);
    }
    // The job that stood in the way can be deleted before it is read: then it is created after all.
    for (let tries = 0; tries < 3; tries += 1) {
      const [created] = await this.db.run<Row>(operation, statements.createJobWithId, values, tx);
      if (created !== undefined) return toJob(created);
      const [existing] = await this.db.run<Row>(operation, statements.getJobs, [[job.jobId]], tx);
      if (existing !== undefined) return sameJob(toJob(existing), job);
      await this.refuseUnknownUsers(operation, [job.userId], tx);
    }
    throw new TransactionConflictError(operation);
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
    const tx = readOptions(operation, options);
    const range = { min: 0, max: MAX_BATCH };
    const jobs = readList(operation, 'inputs', inputs, range, (input, path, problems) =>
      collect(CreateJobInput, input, path, true, problems),
    );
    if (jobs.length === 0) return [];
    // Without given ids nothing can collide, so that one statement is the whole of it.
    return jobs.every((job) => job.jobId === undefined)
      ? this.insertJobs(operation, jobs, tx)
      : this.db.atomically(operation, tx, (manager) =>
          this.insertJobs(operation, jobs, { manager }),
        );
  }

  private async insertJobs(
    operation: string,
    inputs: readonly CreateJobInput[],
    tx: TransactionOptions,
  ): Promise<VideoJob[]> {
    const ids = inputs.map((input) => input.jobId?.toLowerCase() ?? randomUUID());
    const unique = new Map(inputs.map((input, index) => [ids[index] as string, input]));
    const jobs = [...unique.values()];
    const userIds = [...new Set(jobs.map((job) => job.userId.toLowerCase()))];
    const rows = await this.db.run<Row>(
      operation,
      statements.createJobs,
      [
        userIds,
        [...unique.keys()],
        jobs.map((job) => job.userId),
        jobs.map((job) => job.filename),
        jobs.map((job) => job.videoUrl),
        jobs.map((job) => timestamp(job.availableAt)),
      ],
      tx,
    );
    const stored = new Map(rows.map((row) => [row['jobId'] as string, toJob(row)]));
    if (stored.size < unique.size) {
      const missing = [...unique.keys()].filter((id) => !stored.has(id));
      const existing = await this.db.run<Row>(operation, statements.getJobs, [missing], tx);
      for (const row of existing) stored.set(row['jobId'] as string, toJob(row));
      if (stored.size < unique.size) {
        await this.refuseUnknownUsers(operation, userIds, tx);
        throw new TransactionConflictError(operation);
      }
    }
    return inputs.map((input, index) =>
      sameJob(stored.get(ids[index] as string) as VideoJob, input),
    );
  }

  private async refuseUnknownUsers(
    operation: string,
    userIds: readonly string[],
    tx: TransactionOptions,
  ): Promise<void> {
    const rows = await this.db.run<{ userId: string }>(
      operation,
      statements.unknownUsers,
      [userIds],
      tx,
    );
    const [first, ...others] = rows.map((row) => row.userId);
    if (first !== undefined) throw new UserNotFoundError([first, ...others]);
  }

  /**
   * Reads a job.
   *
   * @param options - `userId`: another user's job is "not found"
   * @throws JobNotFoundError
   */
  async getJob(jobId: string, options?: GetJobFilter & TransactionOptions): Promise<VideoJob> {
    const operation = 'getJob';
    const { manager, ...filter } = options ?? {};
    const tx = readOptions(operation, { manager });
    const { userId } = readInput(operation, GetJobFilter, filter, { path: 'options' });
    const id = readId(operation, 'jobId', jobId);
    const [row] = await this.db.run<Row>(operation, statements.getJob, [id, userId ?? null], tx);
    if (row === undefined) throw new JobNotFoundError(id);
    return toJob(row);
  }

  /** Lists jobs, newest first, a page at a time. A page costs the same however deep it is. */
  async listJobs(input: ListJobsInput = {}, options?: TransactionOptions): Promise<JobPage> {
    const operation = 'listJobs';
    const tx = readOptions(operation, options);
    const { userId, status, limit, cursor } = readInput(operation, ListJobsInput, input);
    const after = cursor ? decodeCursor(cursor) : undefined;
    const filters = { userId: userId !== undefined, status: status !== undefined };
    const pageSize = limit ?? DEFAULT_LIMIT;
    const values = [userId, status, after?.createdAt.toISOString(), after?.id];
    const rows = await this.db.run<Row>(
      operation,
      statements.listJobs(filters, after !== undefined),
      [pageSize + 1, ...values.filter((value) => value !== undefined)],
      tx,
    );
    const jobs = rows.slice(0, pageSize).map((row) => toJob(row));
    const last = rows.length > pageSize ? jobs.at(-1) : undefined;
    const nextCursor =
      last === undefined ? null : encodeCursor({ createdAt: last.createdAt, id: last.jobId });
    return { jobs, nextCursor };
  }

  /** Counts jobs by status; a status without jobs counts 0. */
  async countJobs(
    input: CountJobsInput = {},
    options?: TransactionOptions,
  ): Promise<Record<JobStatus, number>> {
    const operation = 'countJobs';
    const tx = readOptions(operation, options);
    const { userId } = readInput(operation, CountJobsInput, input);
    const rows = await this.db.run<{ status: JobStatus; count: number }>(
      operation,
      userId === undefined ? statements.countJobs : statements.countJobsOfUser,
      userId === undefined ? [] : [userId],
      tx,
    );
    const counts = { pending: 0, processing: 0, completed: 0, failed: 0 };
    for (const { status, count } of rows) counts[status] = count;
    return counts;
  }

  /**
   * Starts the job that a broker named: pending → processing, or a new run of a job whose lease is
   * over. Without `leaseMs` and `workerId` the job is started without a lease and is never taken from
   * its owner; with one of them, the other has its default. Never joins a transaction: a run that is
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
    const [row] = await this.db.run<Row>(operation, statements.startJob, [
      id,
      leased ? (workerId ?? this.ownWorkerId) : null,
      leased ? (leaseMs ?? DEFAULT_LEASE_MS) : 0,
    ]);
    return movedJob(id, 'started', row);
  }

  /**
   * Claims jobs that are due, those that wait longest first. A claimed job is leased: when the lease
   * ends before the job does, anybody may claim it again, as a new run. A job that has been tried
   * `maxAttempts` times fails here, with its notification. Never joins a transaction, and never waits
   * for one: rows that are locked are passed over.
   *
   * @returns an empty array when nothing is due
   */
  async claimJobs(input: ClaimJobsInput = {}): Promise<VideoJob[]> {
    const operation = 'claimJobs';
    const claim = readInput(operation, ClaimJobsInput, input);
    const values = [
      claim.limit ?? DEFAULT_LIMIT,
      claim.leaseMs ?? DEFAULT_LEASE_MS,
      claim.workerId ?? this.ownWorkerId,
      claim.maxAttempts ?? DEFAULT_MAX_ATTEMPTS,
    ];
    for (;;) {
      const rows = await this.db.run<Row>(operation, statements.claimJobs, values);
      const claimed = rows.filter((row) => row['status'] === JobStatus.PROCESSING);
      // When all that was found had no try left, there may be more behind it.
      if (claimed.length > 0 || rows.length === 0) return claimed.map((row) => toJob(row));
    }
  }

  /**
   * Extends the leases of jobs that are still held, in one statement that waits for no lock. Never
   * joins a transaction.
   *
   * @returns the ids of the jobs still held; drop the work on the others
   */
  async extendLeases(jobs: readonly JobHandle[], input: ExtendLeasesInput): Promise<string[]> {
    const operation = 'extendLeases';
    const range = { min: 0, max: MAX_BATCH };
    const handles = readList(operation, 'jobs', jobs, range, (job, path, problems) =>
      collect(JobHandle, job, path, false, problems),
    );
    const { leaseMs } = readInput(operation, ExtendLeasesInput, input);
    if (handles.length === 0) return [];
    const rows = await this.db.run<{ jobId: string }>(operation, statements.extendLeases, [
      ...handleColumns(handles),
      leaseMs,
    ]);
    return rows.map((row) => row.jobId);
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
  ): Promise<FinishedJob> {
    const operation = 'completeJob';
    const tx = readOptions(operation, options);
    const handle = readHandle(operation, job);
    const { resultUrl, frameCount } = readInput(operation, JobResult, result);
    const outcome = { next: JobStatus.COMPLETED, resultUrl, frameCount };
    return this.settle(operation, 'completed', handle, outcome, tx) as Promise<FinishedJob>;
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
    const tx = readOptions(operation, options);
    const range = { min: 0, max: MAX_BATCH };
    const seen = new Set<string>();
    const batch = readList(
      operation,
      'completions',
      completions,
      range,
      (entry, path, problems) => {
        const { job, result } = (entry ?? {}) as Partial<JobCompletion>;
        const handle = collect(JobHandle, job, `${path}.job`, false, problems);
        const { resultUrl, frameCount } = collect(
          JobResult,
          result,
          `${path}.result`,
          true,
          problems,
        );
        if (seen.has(handle.jobId?.toLowerCase())) {
          problems.push({ property: `${path}.job.jobId`, message: 'is in this batch twice' });
        }
        seen.add(handle.jobId?.toLowerCase());
        return { handle, outcome: { next: JobStatus.COMPLETED, resultUrl, frameCount } };
      },
    );
    if (batch.length === 0) return [];
    return (await this.settleAll(operation, 'completed', batch, tx)) as CompletionVerdict[];
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
  ): Promise<{ job: VideoJob; notification: NotificationLog | null }> {
    const operation = 'failJob';
    const tx = readOptions(operation, options);
    const handle = readHandle(operation, job);
    const { errorMessage, retryInMs } = readInput(operation, JobFailure, failure);
    const outcome =
      retryInMs === undefined
        ? { next: JobStatus.FAILED, errorMessage }
        : { next: JobStatus.PENDING, errorMessage, delayMs: retryInMs };
    return this.settle(operation, 'failed', handle, outcome, tx);
  }

  /**
   * Gives a job back unfinished: it is pending and due at once, and the attempt is not counted.
   *
   * @throws JobNotFoundError, LeaseLostError, InvalidJobTransitionError; nothing was written
   */
  async releaseJob(job: JobHandle, options?: TransactionOptions): Promise<VideoJob> {
    const operation = 'releaseJob';
    const tx = readOptions(operation, options);
    const handle = readHandle(operation, job);
    const outcome = { next: JobStatus.PENDING, refund: 1 };
    return (await this.settle(operation, 'released', handle, outcome, tx)).job;
  }

  /**
   * Makes a failed job pending again, due at once, with all of its tries. The notification of the
   * failed run stays.
   *
   * @throws JobNotFoundError
   * @throws InvalidJobTransitionError if it is not failed
   */
  async retryJob(jobId: string, options?: TransactionOptions): Promise<VideoJob> {
    const operation = 'retryJob';
    const tx = readOptions(operation, options);
    const id = readId(operation, 'jobId', jobId);
    const [row] = await this.db.run<Row>(operation, statements.retryJob, [id], tx);
    return movedJob(id, 'retried', row);
  }

  private async settle(
    operation: string,
    move: string,
    handle: JobHandle,
    outcome: Outcome,
    tx: TransactionOptions,
  ): Promise<{ job: VideoJob; notification: NotificationLog | null }> {
    const [verdict] = await this.settleAll(operation, move, [{ handle, outcome }], tx);
    if (verdict === undefined || 'error' in verdict) throw verdict?.error;
    return verdict;
  }

  private async settleAll(
    operation: string,
    move: string,
    batch: readonly { handle: JobHandle; outcome: Outcome }[],
    tx: TransactionOptions,
  ): Promise<({ job: VideoJob; notification: NotificationLog | null } | { error: Error })[]> {
    const outcomes = batch.map(({ outcome }) => outcome);
    const rows = await this.db.run<Row>(
      operation,
      statements.settleJobs,
      [
        ...handleColumns(batch.map(({ handle }) => handle)),
        outcomes.map(({ next }) => next),
        outcomes.map(({ resultUrl }) => resultUrl ?? null),
        outcomes.map(({ frameCount }) => frameCount ?? null),
        outcomes.map(({ errorMessage }) => errorMessage ?? null),
        outcomes.map(({ delayMs }) => delayMs ?? 0),
        outcomes.map(({ refund }) => refund ?? 0),
      ],
      tx,
    );
    const byPosition = new Map(rows.map((row) => [row['position'], row]));
    return batch.map(({ handle: { jobId } }, index) => {
      const row = byPosition.get(index + 1);
      if (row === undefined) return { error: new JobNotFoundError(jobId) };
      if (row['job.jobId'] === null) return { error: refusal(jobId, move, row) };
      const notification =
        row['notification.notificationId'] === null
          ? null
          : hydrate(NotificationLog, NOTIFICATION_COLUMNS, row, 'notification.');
      return { job: toJob(row, 'job.'), notification };
    });
  }
}

const toJob = (row: Row, prefix?: string): VideoJob => hydrate(VideoJob, JOB_COLUMNS, row, prefix);

/** Written out in UTC: `pg` writes dates in the process's own time zone. */
const timestamp = (date: Date | undefined | null): string | null => date?.toISOString() ?? null;

const readHandle = (operation: string, job: unknown): JobHandle =>
  readInput(operation, JobHandle, job, { strict: false, path: 'job' });

const handleColumns = (handles: readonly JobHandle[]): unknown[][] => [
  handles.map(({ jobId }) => jobId),
  handles.map(({ runNumber }) => runNumber),
  handles.map(({ workerId }) => workerId),
];

/** The stored job, if its content is what the caller asked for. */
function sameJob(stored: VideoJob, input: CreateJobInput): VideoJob {
  const same =
    stored.userId === input.userId.toLowerCase() &&
    stored.filename === input.filename &&
    stored.videoUrl === input.videoUrl;
  if (!same) throw new JobConflictError(stored.jobId);
  return stored;
}

/** Why a move was refused, by the state in which the locked row was found. */
function refusal(
  jobId: string,
  move: string,
  row: Row,
): LeaseLostError | InvalidJobTransitionError {
  const status = row['statusBefore'] as JobStatus;
  const runNumber = row['runNumberBefore'] as number;
  return row['lost'] === true
    ? new LeaseLostError({ jobId, status, runNumber })
    : new InvalidJobTransitionError(jobId, move, status, runNumber);
}

/** The job of a statement that moves one job by its id. */
function movedJob(jobId: string, move: string, row: Row | undefined): VideoJob {
  if (row === undefined) throw new JobNotFoundError(jobId);
  if (row['job.jobId'] === null) throw refusal(jobId, move, row);
  return toJob(row, 'job.');
}
