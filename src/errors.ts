import { clauseOf } from './errors.text.js';
import type { JobStatus } from './schema/entities/job-status.js';
import type { DeliveryStatus } from './schema/entities/notification-status.js';

/** The options of an error's constructor. TypeScript declares them only from ES2022 on. */
interface Cause {
  readonly cause?: unknown;
}

/** The stable codes of {@link FrameForgeError}s, one for each class. */
export type FrameForgeErrorCode = AnyFrameForgeError['code'];

/**
 * The base class of every failure that a caller can act on. Distinguish these errors by their class or by
 * their stable `code`. The message says what happened, to which thing, and what to do next. Each class sets
 * its `name` on the prototype, so a bundler that renames classes does not change the name.
 */
export abstract class FrameForgeError extends Error {
  /** Which error it is. Codes stay the same from release to release; messages may change. */
  abstract readonly code: FrameForgeErrorCode;
}

/** One thing that is wrong with an input. */
export interface InputProblem {
  /** The path of the property, such as `filename` or `completions.3.result.frameCount`. */
  readonly property: string;
  /** What is wrong, such as `must be a UUID`. */
  readonly message: string;
}

/** The input of a call was refused before any SQL ran; `problems` lists each fault by property. */
export class InvalidInputError extends FrameForgeError {
  static {
    this.prototype.name = 'InvalidInputError';
  }
  readonly code = 'INVALID_INPUT';

  /**
   * @param operation - the call that was refused
   * @param problems - what is wrong with its input
   */
  constructor(
    operation: string,
    readonly problems: readonly InputProblem[],
  ) {
    const list = problems.map(({ property, message }) => `${property} ${message}`).join('; ');
    super(`${operation} was given invalid input, and did nothing: ${list}.`);
  }
}

/** A call wanted to create a job for a user who does not exist, or to change such a user. Nothing was written. */
export class UserNotFoundError extends FrameForgeError {
  static {
    this.prototype.name = 'UserNotFoundError';
  }
  readonly code = 'USER_NOT_FOUND';
  /** The first of the users who do not exist. */
  readonly userId: string;

  /**
   * @param userIds - those that do not exist; `userId` is the first of them
   * @param outcome - what became of the call
   */
  constructor(
    readonly userIds: readonly [string, ...string[]],
    outcome = 'no job was created',
  ) {
    super(
      `No user ${userIds.join(', ')} exists, so ${outcome}. ` +
        `Create the user first, in the same transaction or in an earlier one.`,
    );
    this.userId = userIds[0];
  }
}

/** Another user has this username or e-mail address; `property` says which. Nothing was written. */
export class UserConflictError extends FrameForgeError {
  static {
    this.prototype.name = 'UserConflictError';
  }
  readonly code = 'USER_CONFLICT';

  /** @param property - which of the two is taken */
  constructor(readonly property: 'username' | 'email') {
    const [what, way] =
      property === 'email'
        ? ['e-mail address', 'log in as that user, or use another address']
        : ['username', 'choose another one'];
    super(`Another user has this ${what} already: ${way}.`);
  }
}

/** The job does not exist, or the call named a `userId` and the job belongs to another user. */
export class JobNotFoundError extends FrameForgeError {
  static {
    this.prototype.name = 'JobNotFoundError';
  }
  readonly code = 'JOB_NOT_FOUND';

  /** @param jobId - the job that was asked for */
  constructor(readonly jobId: string) {
    super(`Job ${jobId} does not exist, or belongs to another user. It may have been deleted.`);
  }
}

/** The notification does not exist. */
export class NotificationNotFoundError extends FrameForgeError {
  static {
    this.prototype.name = 'NotificationNotFoundError';
  }
  readonly code = 'NOTIFICATION_NOT_FOUND';

  /** @param notificationId - the notification that was asked for */
  constructor(readonly notificationId: string) {
    super(`Notification ${notificationId} does not exist. It is deleted together with its job.`);
  }
}

const ADVICE: Record<JobStatus, string> = {
  pending: 'Claim or start it first.',
  processing: 'Somebody is working on it: wait until they finish, or until their lease is over.',
  completed: 'A completed job is final.',
  failed: 'A failed job is final; retryJob makes it pending again.',
};

const FREE_IT =
  'It was started without a lease, so no worker takes it over. If its owner is gone, give the job back: ' +
  'releaseJob({ jobId, runNumber, workerId: null }).';

/** The job is in a state from which this move is not allowed. Nothing was changed. */
export class InvalidJobTransitionError extends FrameForgeError {
  static {
    this.prototype.name = 'InvalidJobTransitionError';
  }
  readonly code = 'INVALID_JOB_TRANSITION';

  /**
   * @param jobId - the job
   * @param move - what was asked for, such as `completed`
   * @param status - the status that the job has
   * @param runNumber - the run that the job is in
   * @param hasLease - whether a job that is processing will be free by itself if its owner is gone
   */
  constructor(
    readonly jobId: string,
    readonly move: string,
    readonly status: JobStatus,
    readonly runNumber: number,
    readonly hasLease = true,
  ) {
    const advice = status === 'processing' && !hasLease ? FREE_IT : ADVICE[status];
    super(`Job ${jobId} cannot be ${move}: it is ${status} (run ${runNumber}). ${advice}`);
  }
}

/** The notification is in a state from which this move is not allowed. Nothing was changed. */
export class InvalidNotificationTransitionError extends FrameForgeError {
  static {
    this.prototype.name = 'InvalidNotificationTransitionError';
  }
  readonly code = 'INVALID_NOTIFICATION_TRANSITION';

  /**
   * @param notificationId - the notification
   * @param move - what was asked for, such as `redelivered`
   * @param status - the status that the notification has
   * @param deliveryNumber - the delivery that it is in
   */
  constructor(
    readonly notificationId: string,
    readonly move: string,
    readonly status: DeliveryStatus,
    readonly deliveryNumber: number,
  ) {
    super(
      `Notification ${notificationId} cannot be ${move}: it is ${status} (delivery ${deliveryNumber}). ` +
        `Only one that has failed for good can be delivered again.`,
    );
  }
}

const MOVES_OF_A_JOB =
  'startJob, completeJob, failJob, releaseJob, cancelJob or retryJob of JobService';
const MOVES_OF_A_NOTIFICATION = 'markSent, markFailed or redeliver of NotificationService';

/** The job or the notification of a {@link LeaseLostError} or a {@link StaleEntityError}, and the state that it has now. */
export type LostLease =
  | { jobId: string; status: JobStatus; runNumber: number; isCancelled?: boolean }
  | { notificationId: string; status: DeliveryStatus; deliveryNumber: number };

/**
 * The caller no longer holds the job or the notification that it wanted to change: another run, worker or
 * delivery holds it, or it is finished. Nothing was changed. If the reply to an earlier write was lost,
 * `status` and the current number tell whether that write had succeeded.
 */
export class LeaseLostError extends FrameForgeError {
  static {
    this.prototype.name = 'LeaseLostError';
  }
  readonly code = 'LEASE_LOST';
  /** The job, if the lease was one of a job. */
  readonly jobId?: string;
  /** The notification, if the lease was one of a delivery. */
  readonly notificationId?: string;
  /** The status that the job or the notification has now. */
  readonly status: JobStatus | DeliveryStatus;
  /** The run that the job is in now. */
  readonly runNumber?: number;
  /** The delivery that the notification is in now. */
  readonly deliveryNumber?: number;
  /** Whether the job was cancelled; undefined for a notification. */
  readonly isCancelled?: boolean;

  constructor(lost: LostLease) {
    super(
      'jobId' in lost
        ? lost.isCancelled === true
          ? `The lease on job ${lost.jobId} is lost: the job was cancelled, and its run number is ${lost.runNumber} now. ` +
            `Drop this run's result.`
          : `The lease on job ${lost.jobId} is lost: the job is ${lost.status} in run ${lost.runNumber}. ` +
            `Drop the result of your run. If another worker holds the job now, that worker finishes it.`
        : `The lease on notification ${lost.notificationId} is lost: the notification is ${lost.status} ` +
            `in delivery ${lost.deliveryNumber}. Drop the outcome of your delivery.`,
    );
    Object.assign(this, lost);
    this.status = lost.status;
  }
}

/**
 * A repository's `save()` got a `VideoJob` or a `NotificationLog` that is older than what has happened since, and
 * would have written that old state over the new one. Or it would have changed the status in a way that only the
 * services may: a `save()` starts no job, and makes nothing pending that has ended. Nothing of it was written.
 */
export class StaleEntityError extends FrameForgeError {
  static {
    this.prototype.name = 'StaleEntityError';
  }
  readonly code = 'STALE_ENTITY';
  /** The job, if the entity is one. */
  readonly jobId?: string;
  /** The notification, if the entity is one. */
  readonly notificationId?: string;
  /** The status that the job or the notification has now. */
  readonly status: JobStatus | DeliveryStatus;
  /** The run that the job is in now. */
  readonly runNumber?: number;
  /** The delivery that the notification is in now. */
  readonly deliveryNumber?: number;

  /**
   * @param now - the job or the notification as the database has it
   * @param savedStatus - the status that the entity has
   * @param savedNumber - the run or the delivery that the entity has; undefined if it has none
   */
  constructor(
    now: LostLease,
    readonly savedStatus: JobStatus | DeliveryStatus,
    readonly savedNumber?: number,
  ) {
    const [what, id, round, number, update, way] =
      'jobId' in now
        ? ['job', now.jobId, 'run', now.runNumber, 'jobId, { filename }', MOVES_OF_A_JOB]
        : [
            'notification',
            now.notificationId,
            'delivery',
            now.deliveryNumber,
            'notificationId, { recipientEmail }',
            MOVES_OF_A_NOTIFICATION,
          ];
    const savedIn = savedNumber === undefined ? '' : ` in ${round} ${savedNumber}`;
    super(
      `A save() of ${what} ${id} was refused, and wrote nothing of it: the ${what} is ${now.status} in ` +
        `${round} ${number} now, and the entity is ${savedStatus}${savedIn}. If you mean to change the status, ` +
        `call ${way}. Otherwise read the ${what} again and save that, or write only what you want to change: ` +
        `repository.update(${update}).`,
    );
    Object.assign(this, now);
    this.status = now.status;
  }
}

/**
 * The job was cancelled or deleted while its handler ran. A job is also deleted together with its user.
 * This error is the `reason` of the handler's `signal`. Stop the work: nothing of this run will be recorded.
 */
export class JobCancelledError extends FrameForgeError {
  static {
    this.prototype.name = 'JobCancelledError';
  }
  readonly code = 'JOB_CANCELLED';

  /**
   * @param jobId - the job that was cancelled
   * @param runNumber - the run that was at work
   * @param isDeleted - the job is not there any more
   */
  constructor(
    readonly jobId: string,
    readonly runNumber: number,
    readonly isDeleted = false,
  ) {
    super(
      `Job ${jobId} was ${isDeleted ? 'deleted' : 'cancelled'}. ` +
        `Stop run ${runNumber}: nothing of it will be recorded.` +
        (isDeleted ? '' : ' retryJob makes the job pending again.'),
    );
  }
}

/** A job with this `jobId` exists and has other content. Nothing was changed. */
export class JobConflictError extends FrameForgeError {
  static {
    this.prototype.name = 'JobConflictError';
  }
  readonly code = 'JOB_CONFLICT';

  /** @param jobId - the job that exists */
  constructor(readonly jobId: string) {
    super(
      `Job ${jobId} exists already, with another userId, filename, videoUrl or parameters. ` +
        `Use a new jobId for a new job. Use the same jobId only to repeat the same call.`,
    );
  }
}

/** The database rolled the transaction back because it collided with another one. Run the whole transaction again. */
export class TransactionConflictError extends FrameForgeError {
  static {
    this.prototype.name = 'TransactionConflictError';
  }
  readonly code = 'TRANSACTION_CONFLICT';

  constructor(operation: string, options?: Cause) {
    super(
      `${operation} collided with another transaction, and the database rolled it back. ` +
        `Retry the whole transaction.`,
      options,
    );
  }
}

/** Whether a call that got no answer was certainly not done, or may have been done. */
export type CallOutcome = 'not done' | 'unknown';

/**
 * The database could not be reached, no connection was free, or the connection broke. `outcome` is
 * `'unknown'` if a write was sent and its reply was lost: the write may have been done. Repeat the call with
 * the same `jobId` or handle to learn whether it was done. Otherwise `outcome` is `'not done'`: nothing was written.
 */
export class DatabaseUnavailableError extends FrameForgeError {
  static {
    this.prototype.name = 'DatabaseUnavailableError';
  }
  readonly code = 'DATABASE_UNAVAILABLE';
  /** Whether the call was not done, or may have been done. */
  readonly outcome: CallOutcome;

  /**
   * @param operation - what was being done, as the subject of the message
   * @param options - `outcome` (default `'not done'`); `problem`: what happened and what to do, if
   *   the reason is another one than a database that cannot be reached
   */
  constructor(
    operation: string,
    {
      outcome = 'not done',
      problem,
      ...options
    }: Cause & { outcome?: CallOutcome; problem?: string } = {},
  ) {
    const away =
      `could not reach the database: ${clauseOf(options.cause)}. ` +
      `Try again when it is back; the package opens connections again by itself.`;
    const repeat =
      ' The reply was lost, so a write may have been done. Repeat the call with the same jobId or handle: ' +
      'it does nothing twice, and its answer tells. createJob without a jobId would create a second job.';
    super(`${operation} ${problem ?? away}${outcome === 'unknown' ? repeat : ''}`, options);
    this.outcome = outcome;
  }
}

/** The database ended a statement that took longer than `statement_timeout` or `lock_timeout`. Nothing was written. */
export class StatementTimeoutError extends FrameForgeError {
  static {
    this.prototype.name = 'StatementTimeoutError';
  }
  readonly code = 'STATEMENT_TIMEOUT';

  constructor(operation: string, options?: Cause) {
    super(
      `${operation} was ended by the database, and wrote nothing: ${clauseOf(options?.cause)}. ` +
        `Try again. If it happens again, find what holds the lock or slows the server down ` +
        `(pg_stat_activity), or raise lock_timeout and statement_timeout of the role.`,
      options,
    );
  }
}

/** A run took longer than `maxRunMs`: its signal was aborted with this error, and the attempt failed. */
export class RunTimeoutError extends FrameForgeError {
  static {
    this.prototype.name = 'RunTimeoutError';
  }
  readonly code = 'RUN_TIMEOUT';

  /**
   * @param jobId - the job
   * @param runNumber - the run that was ended
   * @param maxRunMs - the limit, in ms
   */
  constructor(
    readonly jobId: string,
    readonly runNumber: number,
    readonly maxRunMs: number,
  ) {
    super(
      `Run ${runNumber} of job ${jobId} took longer than its limit of ${maxRunMs} ms, and was ended. ` +
        `Raise \`maxRunMs\` of @VideoJobProcessor if such work needs longer.`,
    );
  }
}

/** The schema in the database is not what this package needs, or a migration failed. */
export class MigrationError extends FrameForgeError {
  static {
    this.prototype.name = 'MigrationError';
  }
  readonly code = 'MIGRATION_FAILED';
}

/** The options, the environment or the rights of the database role are wrong. The message says what to change. */
export class ConfigurationError extends FrameForgeError {
  static {
    this.prototype.name = 'ConfigurationError';
  }
  readonly code = 'CONFIGURATION_INVALID';
}

/** Any of this package's errors, as a union, so that `switch (error.code)` tells which one it is. */
export type AnyFrameForgeError =
  | InvalidInputError
  | UserNotFoundError
  | UserConflictError
  | JobNotFoundError
  | NotificationNotFoundError
  | InvalidJobTransitionError
  | InvalidNotificationTransitionError
  | LeaseLostError
  | StaleEntityError
  | JobCancelledError
  | JobConflictError
  | TransactionConflictError
  | DatabaseUnavailableError
  | StatementTimeoutError
  | RunTimeoutError
  | MigrationError
  | ConfigurationError;

/**
 * Whether a caught value is one of this package's errors. In TypeScript, `switch (error.code)` then narrows
 * the error to the class of each code, with its data fields.
 *
 * @param error - anything that was thrown
 */
export const isFrameForgeError = (error: unknown): error is AnyFrameForgeError =>
  error instanceof FrameForgeError;
