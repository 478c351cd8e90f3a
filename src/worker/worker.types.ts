import type { EntityManager } from 'typeorm';
import { InvalidInputError } from '../errors.js';
import { MAX_MS } from '../input/option.rules.js';
import type { JobView } from '../jobs/job.view.js';
import type { JobResult } from '../jobs/job.inputs.js';
import type { NotificationLog, VideoJob } from '../schema/entities/index.js';

/** The second argument of a handler: a signal, and which try this is. */
export interface WorkContext {
  /**
   * Is aborted when the job is cancelled (its `reason` is then a `JobCancelledError`), when the lease is lost,
   * when `maxRunMs` is over, and when the process shuts down. Stop the work then: its result is not recorded. It
   * is a getter of the context's class, so `{ ...context }` does not copy it.
   */
  readonly signal: AbortSignal;
  /** 1 for the first try. */
  readonly attempt: number;
}

/** The second argument of the handler of a job. */
export interface JobContext extends WorkContext {
  /**
   * Reports how far the work has come. You may call it at each step: it only keeps the value, and the worker
   * writes the latest value once a second. A new run begins at 0, and a completed job has 100.
   *
   * @param percent - 0 to 100; a value outside is set to the bound, and decimals are dropped
   * @param message - what the handler is doing, up to 255 characters; none if left out
   */
  progress(percent: number, message?: string): void;
}

/** The second argument of the handler of a delivery. */
export interface DeliveryContext extends WorkContext {
  /**
   * The job as it was when it ended. If a failed job was retried since then, its `errorMessage`,
   * `startedAt`, `progress` and `cancelledAt` are null.
   */
  readonly job: JobView;
}

/**
 * What a handler returns: the result of the job, or a function that writes rows and resolves to the result.
 * The function gets the manager of the transaction that completes the job, so its rows commit together with
 * the completion or not at all. If the database rolled the transaction back (an outage, a collision), the
 * function is called again in a new transaction.
 */
export type JobOutcome = JobResult | ((manager: EntityManager) => Promise<JobResult>);

/** A `VideoJob` whose `parameters` have the application's own type. */
export type JobWith<Parameters extends object | null> = Omit<VideoJob, 'parameters'> & {
  /** The parameters that `createJob` was given. */
  readonly parameters: Parameters;
};

/**
 * The interface of a class with `@VideoJobProcessor`. It may name the type of the parameters, as in
 * `VideoJobHandler<ExtractionParameters>`. If some jobs have no parameters, for instance those of a service
 * that does not know parameters, use `ExtractionParameters | null`.
 */
export interface VideoJobHandler<
  Parameters extends object | null = Record<string, unknown> | null,
> {
  /**
   * Does the work of a job. If it throws, the attempt fails and the job is tried again after a backoff, up to
   * `maxAttempts` times. An `UnrecoverableJobError` fails the job at once. A `RetryJobError` says when to try
   * again.
   */
  process(job: JobWith<Parameters>, context: JobContext): Promise<JobOutcome>;
}

/** The interface of a class with `@NotificationDeliverer`. */
export interface NotificationHandler {
  /**
   * Delivers a notification. This may happen twice, so give the provider `notification.notificationId` as its
   * idempotency key. If it throws, the delivery is tried again after a backoff, or after the time that a
   * `RetryJobError` names.
   */
  deliver(notification: NotificationLog, context: DeliveryContext): Promise<void>;
}

/** An error with which a handler fails the job at once, without another try. */
export class UnrecoverableJobError extends Error {
  static {
    this.prototype.name = 'UnrecoverableJobError';
  }
}

/** The options of a `RetryJobError`. */
export interface RetryOptions {
  /** After how long to try again, in ms; rounded up, and 0 if it is negative. At most 24.8 days. */
  readonly inMs: number;
  /** The reason. The job's user reads it, unless the worker's option `errorMessage` returns another text. */
  readonly message?: string;
  /**
   * Whether the run counts as one of a job's `maxAttempts`. Default false: nothing is wrong with the job.
   * A delivery always counts, because its number is its fencing token.
   */
  readonly countAttempt?: boolean;
}

/**
 * An error with which a handler says "not now", for instance because of a full disk, or a `Retry-After` of a
 * provider. The job is tried again after `inMs`, whatever the backoff is. A deliverer may throw it, too.
 */
export class RetryJobError extends Error {
  static {
    this.prototype.name = 'RetryJobError';
  }
  /** The time until the next try, in ms. */
  readonly inMs: number;
  /** Whether this attempt counts. */
  readonly countAttempt: boolean;
  /** Whether it has a message. */
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
