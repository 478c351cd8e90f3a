import type { EntityManager } from 'typeorm';
import { InvalidInputError } from '../errors.js';
import { MAX_MS } from '../input/option.rules.js';
import type { JobView } from '../jobs/job.view.js';
import type { JobResult } from '../jobs/job.inputs.js';
import type { NotificationLog, VideoJob } from '../schema/entities/index.js';

/** What a handler gets beside its job or notification. */
export interface WorkContext {
  /**
   * Aborted when the job was cancelled (its reason is a `JobCancelledError`), the lease is lost or the
   * process shuts down: stop, nothing will be recorded.
   */
  readonly signal: AbortSignal;
  /** 1 for the first try. */
  readonly attempt: number;
}

/** What the handler of a job gets beside it. */
export interface JobContext extends WorkContext {
  /**
   * Says how far the work has come. It may be called at each step: it writes nothing by itself, and the
   * latest value is reported once a second. A new run begins at 0, and a completed job has 100.
   *
   * @param percent - 0 to 100; what is outside is cut off, and so is what is behind the decimal point
   * @param message - what is being done, up to 255 characters; none if left out
   */
  progress(percent: number, message?: string): void;
}

/** What the handler of a delivery gets beside its notification. */
export interface DeliveryContext extends WorkContext {
  /**
   * The job, as it was when it ended so. Of a failed job that was retried since, `errorMessage`,
   * `startedAt`, `progress` and `cancelledAt` are null.
   */
  readonly job: JobView;
}

/**
 * What came of a job: its result, or a function that resolves to it and gets the manager of the
 * transaction that completes the job, so that what it writes commits with that or not at all. When the
 * database undid the transaction (an outage, a collision), the function is called again in a new one.
 */
export type JobOutcome = JobResult | ((manager: EntityManager) => Promise<JobResult>);

/** A job whose parameters are those of an application. */
export type JobWith<Parameters extends object | null> = Omit<VideoJob, 'parameters'> & {
  /** What `createJob` was given. */
  readonly parameters: Parameters;
};

/**
 * The class that `@VideoJobProcessor` decorates. It may name the parameters of its jobs, as in
 * `VideoJobHandler<ExtractionParameters>`: what `createJob` was given, as JSON. Where there are jobs
 * without parameters too, such as those of a service that does not know of them, name
 * `ExtractionParameters | null`.
 */
export interface VideoJobHandler<
  Parameters extends object | null = Record<string, unknown> | null,
> {
  /**
   * Does the work of a job. What it throws fails the attempt, and the job is tried again after a
   * backoff, up to `maxAttempts`; an `UnrecoverableJobError` fails it at once, and a `RetryJobError` says
   * when to try again.
   */
  process(job: JobWith<Parameters>, context: JobContext): Promise<JobOutcome>;
}

/** The class that `@NotificationDeliverer` decorates. */
export interface NotificationHandler {
  /**
   * Delivers a notification, at least once: give the provider `notification.notificationId` as its
   * idempotency key. What it throws fails the attempt, and it is tried again after a backoff, or
   * when a `RetryJobError` says.
   */
  deliver(notification: NotificationLog, context: DeliveryContext): Promise<void>;
}

/** Thrown by a handler, it fails the job at once, without another try. */
export class UnrecoverableJobError extends Error {
  static {
    this.prototype.name = 'UnrecoverableJobError';
  }
}

/** What a `RetryJobError` is made of. */
export interface RetryOptions {
  /** After how long to try again, in ms; rounded up, and 0 if it is negative. At most 24.8 days. */
  readonly inMs: number;
  /** Why; the job's user reads it, unless `errorMessage` of the worker says otherwise. */
  readonly message?: string;
  /**
   * Whether the run counts as one of a job's `maxAttempts`. Default false: nothing is wrong with the job.
   * A delivery always counts, because its number is its fencing token.
   */
  readonly countAttempt?: boolean;
}

/**
 * Thrown by a handler, it means "not now": a full disk, or a `Retry-After` of a provider. The job is tried
 * again after that time, whatever the backoff is. A deliverer may throw it too.
 */
export class RetryJobError extends Error {
  static {
    this.prototype.name = 'RetryJobError';
  }
  /** When it is tried again: so many ms from now. */
  readonly inMs: number;
  /** Whether this attempt counts. */
  readonly countAttempt: boolean;
  /** Whether it says why. */
  readonly hasReason: boolean;

  /** @throws InvalidInputError if `inMs` is no finite number, or too large */
  constructor({ inMs, message = '', countAttempt = false }: RetryOptions) {
    super(message === '' ? `Not now: to be tried again in ${inMs} ms.` : message);
    const wait = typeof inMs === 'number' ? Math.max(Math.ceil(inMs), 0) : Number.NaN;
    if (!(wait <= MAX_MS)) {
      const rule = `must be a number of milliseconds up to ${MAX_MS}`;
      throw new InvalidInputError('RetryJobError', [{ property: 'inMs', message: rule }]);
    }
    this.inMs = wait;
    this.countAttempt = countAttempt;
    this.hasReason = message !== '';
  }
}
