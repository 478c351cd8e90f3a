import type { JobStatus } from './schema/entities/job-status.js';
import type { DeliveryStatus } from './schema/entities/notification-status.js';

/** What an error takes besides its message. TypeScript's own type for it is newer than ES2021. */
interface Cause {
  readonly cause?: unknown;
}

/** The stable codes of {@link FrameForgeError}s, one a class. */
export type FrameForgeErrorCode =
  | 'INVALID_INPUT'
  | 'USER_NOT_FOUND'
  | 'USER_CONFLICT'
  | 'JOB_NOT_FOUND'
  | 'NOTIFICATION_NOT_FOUND'
  | 'INVALID_JOB_TRANSITION'
  | 'LEASE_LOST'
  | 'JOB_CONFLICT'
  | 'TRANSACTION_CONFLICT'
  | 'DATABASE_UNAVAILABLE'
  | 'STATEMENT_TIMEOUT'
  | 'MIGRATION_FAILED'
  | 'CONFIGURATION_INVALID';

/**
 * Every failure that a caller can act on. Tell them apart by class or by the stable `code`; the
 * message says what happened, to which thing, and what to do next. Names are set on the prototypes,
 * so that a bundler that renames classes does not change them.
 */
export abstract class FrameForgeError extends Error {
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

  constructor(
    operation: string,
    readonly problems: readonly InputProblem[],
  ) {
    const list = problems.map(({ property, message }) => `${property} ${message}`).join('; ');
    super(`${operation} was given invalid input, and did nothing: ${list}.`);
  }
}

/** A job was to be created for a user who does not exist, or that user was to be changed; nothing was done. */
export class UserNotFoundError extends FrameForgeError {
  static {
    this.prototype.name = 'UserNotFoundError';
  }
  readonly code = 'USER_NOT_FOUND';
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

  constructor(readonly property: 'username' | 'email') {
    const [what, way] =
      property === 'email'
        ? ['e-mail address', 'log in as that user, or use another address']
        : ['username', 'choose another one'];
    super(`Another user has this ${what} already: ${way}.`);
  }
}

/** The job does not exist, or belongs to another user than the one that was asked for. */
export class JobNotFoundError extends FrameForgeError {
  static {
    this.prototype.name = 'JobNotFoundError';
  }
  readonly code = 'JOB_NOT_FOUND';

  constructor(readonly jobId: string) {
    super(`Job ${jobId} does not exist, or not for this user. It may have been deleted since.`);
  }
}

/** The notification does not exist. */
export class NotificationNotFoundError extends FrameForgeError {
  static {
    this.prototype.name = 'NotificationNotFoundError';
  }
  readonly code = 'NOTIFICATION_NOT_FOUND';

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

/** The job is in a state from which this move is not allowed. Nothing was changed. */
export class InvalidJobTransitionError extends FrameForgeError {
  static {
    this.prototype.name = 'InvalidJobTransitionError';
  }
  readonly code = 'INVALID_JOB_TRANSITION';

  /**
   * @param move - what was asked for, such as `completed`
   * @param status - the status that the job has
   * @param runNumber - the run that the job is in
   */
  constructor(
    readonly jobId: string,
    readonly move: string,
    readonly status: JobStatus,
    readonly runNumber: number,
  ) {
    super(`Job ${jobId} cannot be ${move}: it is ${status} (run ${runNumber}). ${ADVICE[status]}`);
  }
}

/** What a {@link LeaseLostError} was about, and the state in which it was found. */
export type LostLease =
  | { jobId: string; status: JobStatus; runNumber: number }
  | { notificationId: string; status: DeliveryStatus; deliveryNumber: number };

/**
 * The caller no longer holds what it writes about: another run, worker or delivery does, or it was
 * finished. Nothing was changed. `status` and the current number let a caller whose reply was lost
 * tell that its own write had succeeded.
 */
export class LeaseLostError extends FrameForgeError {
  static {
    this.prototype.name = 'LeaseLostError';
  }
  readonly code = 'LEASE_LOST';
  readonly jobId?: string;
  readonly notificationId?: string;
  readonly status: JobStatus | DeliveryStatus;
  readonly runNumber?: number;
  readonly deliveryNumber?: number;

  constructor(lost: LostLease) {
    super(
      'jobId' in lost
        ? `The lease on job ${lost.jobId} is lost: it is ${lost.status}, in run ${lost.runNumber}, ` +
            `and no longer yours. Drop this run's result; whoever holds the job now will finish it.`
        : `The lease on notification ${lost.notificationId} is lost: it is ${lost.status}, ` +
            `in delivery ${lost.deliveryNumber}. Drop this outcome.`,
    );
    Object.assign(this, lost);
    this.status = lost.status;
  }
}

/** A job with this `jobId` exists and has other content. Nothing was changed. */
export class JobConflictError extends FrameForgeError {
  static {
    this.prototype.name = 'JobConflictError';
  }
  readonly code = 'JOB_CONFLICT';

  constructor(readonly jobId: string) {
    super(
      `Job ${jobId} exists already, with another userId, filename or videoUrl. ` +
        `Use a new jobId for a new job; the same one only to repeat the same call.`,
    );
  }
}

/** The database undid the transaction for the sake of another one: run the whole of it again. */
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

/** What is known of a call that got no answer: it was not done, or it may have been. */
export type CallOutcome = 'not done' | 'unknown';

/**
 * The database cannot be reached, has no connection to give, or the connection broke. `outcome` is
 * `'unknown'` where the statement was sent and its reply was lost: it may have been done. Repeat the call
 * with the same `jobId` or handle, and the reply will tell; in all other cases it is `'not done'`.
 */
export class DatabaseUnavailableError extends FrameForgeError {
  static {
    this.prototype.name = 'DatabaseUnavailableError';
  }
  readonly code = 'DATABASE_UNAVAILABLE';
  readonly outcome: CallOutcome;

  /**
   * @param operation - what was being done, as the subject of the message
   * @param options - `outcome` (default `'not done'`); `problem`: what happened and what to do, where
   *   that is something else than a database that is away
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
      `Try again when it is back; connections are re-opened by themselves.`;
    const repeat =
      ' The reply was lost, so that a write may have been done. Repeated with the same jobId or handle, ' +
      'the call does nothing twice and tells; createJob without a jobId would create a second job.';
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

/** The schema in the database is not what this package needs, or a migration failed. */
export class MigrationError extends FrameForgeError {
  static {
    this.prototype.name = 'MigrationError';
  }
  readonly code = 'MIGRATION_FAILED';
}

/** The options, the environment or the database's roles are wrong; the message says which and how to mend it. */
export class ConfigurationError extends FrameForgeError {
  static {
    this.prototype.name = 'ConfigurationError';
  }
  readonly code = 'CONFIGURATION_INVALID';
}

/** How much of an error is read: how many errors inside of it, and characters of its text. */
const [MAX_PARTS, MAX_LENGTH, MAX_NAME] = [20, 10_000, 100];

const UNREADABLE = 'something was thrown that cannot be put into words';

/**
 * The message of anything thrown, also of an AggregateError (whose own message is empty). Never throws,
 * and reads no more than a part of an error without an end.
 */
export function reasonOf(error: unknown): string {
  try {
    return messageOf(error, { parts: MAX_PARTS }).slice(0, MAX_LENGTH).toWellFormed();
  } catch {
    // Such as `Object.create(null)`, or a proxy that was revoked.
    return UNREADABLE;
  }
}

function messageOf(error: unknown, left: { parts: number }): string {
  if (left.parts-- <= 0) return '…';
  // Not instanceof: an error may come from another realm.
  const { message, errors } = (error ?? {}) as { message?: unknown; errors?: unknown };
  if (typeof message === 'string' && message !== '') return message;
  if (!Array.isArray(errors) || errors.length === 0) return String(error);
  return errors
    .slice(0, Math.max(left.parts, 1))
    .map((one) => messageOf(one, left))
    .join(', ');
}

/** The message of anything thrown, without a full stop at its end, to put it inside of a sentence. */
export const clauseOf = (error: unknown): string => reasonOf(error).replace(/\.$/, '');

/** What a trace notes of anything thrown: bounded, and whatever it is. */
export function exceptionOf(error: unknown): { name: string; message: string; stack?: string } {
  const message = reasonOf(error);
  try {
    const { name, stack } = (error ?? {}) as { name?: unknown; stack?: unknown };
    return {
      name: typeof name === 'string' ? name.slice(0, MAX_NAME) : 'Error',
      message,
      ...(typeof stack === 'string' ? { stack: stack.slice(0, MAX_LENGTH) } : {}),
    };
  } catch {
    return { name: 'Error', message };
  }
}

/** What was thrown, or an error in its place if it is something that cannot even be looked at. */
export function readable(error: unknown): unknown {
  try {
    // `instanceof` asks for it.
    if (typeof error === 'object' && error !== null) Object.getPrototypeOf(error);
    return error;
  } catch {
    return new Error(UNREADABLE);
  }
}

/** The node errors of a connection that could not be opened or broke. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/** What `pg` and `pg-pool` say, without a code, of a connection that broke or could not be had. */
const BROKEN =
  /^(Connection terminated|timeout exceeded when trying to connect|timeout expired|Client has encountered a connection error|Client was closed|Query read timeout|Cannot use a pool after calling end|Connection ended|server closed the connection|Query runner already released|Driver not Connected)/i;

/** What `pg` says, without a code, of a password that is missing where the server wants one. */
const DRIVER_LOGIN = /^SASL: /;

/** What PgBouncer says, under the code of a broken connection, of a login that cannot succeed. */
const POOLER_LOGIN =
  /authentication failed|auth failed|no such (user|database)|does not exist|unsupported startup parameter|(SSL|TLS) required/i;

/** What to do about a login that was refused, by what was said of it; the first that fits. */
const LOGIN_ADVICE: readonly (readonly [RegExp, string])[] = [
  [
    /unsupported startup parameter/i,
    `PgBouncer does not pass that setting on: take it out of the URL or \`extra\`, and set it for the ` +
      `role (ALTER ROLE ... SET), or name it in PgBouncer's ignore_startup_parameters`,
  ],
  [
    /no pg_hba\.conf entry.*(no encryption|SSL off)|(SSL|TLS) required/i,
    `Where the server takes encrypted connections only, set \`ssl: true\`, DB_SSL=true, or ` +
      `?sslmode=verify-full in the URL; otherwise let its pg_hba.conf accept this host`,
  ],
  [
    /no pg_hba\.conf entry/i,
    `Let the server's pg_hba.conf accept this host, user and database, encrypted or not as the message says`,
  ],
  [/./, `Correct the user, the password or the database's name`],
];

/** What `pg-pool` says when all connections were in use for too long. */
export const NO_CONNECTION_FREE = 'timeout exceeded when trying to connect';

/** The codes of node for a certificate that it does not trust. */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED_CERT|UNABLE_TO_|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA)/;

/**
 * Turns an error of the driver into one of this package's, where the caller can act on it; any other
 * error is returned as it is. SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
 *
 * @param operation - what was being done, as the subject of the message: `createJob`
 * @param wasSent - whether the statement had been sent, so that without an answer it may have been done
 */
export function fromDriver(error: unknown, operation: string, wasSent = false): unknown {
  const thrown = readable(error);
  try {
    return translated(thrown, operation, wasSent);
  } catch {
    // A property of it throws.
    return new Error(reasonOf(thrown));
  }
}

function translated(error: unknown, operation: string, wasSent: boolean): unknown {
  if (error instanceof FrameForgeError) return error;
  const cause = (error as { driverError?: unknown } | undefined)?.driverError ?? error;
  const { message } = (cause ?? {}) as { message?: unknown };
  const state = stateOf(cause);
  if (state === '40001' || state === '40P01') {
    return new TransactionConflictError(operation, { cause });
  }
  // A plan that the transaction's connection keeps is no longer right: the next try makes another.
  if (hasStalePlan(cause)) {
    return new TransactionConflictError(operation, { cause });
  }
  if (state === '57014' || state === '55P03') {
    return new StatementTimeoutError(operation, { cause });
  }
  if (state.startsWith('28') || state === '3D000' || isRefusedLogin(state, String(message))) {
    return new ConfigurationError(
      `${operation} could not log in to the database: ${clauseOf(cause)}. ` +
        `${LOGIN_ADVICE.find(([said]) => said.test(`${String(message)}.`))?.[1]}.`,
      { cause },
    );
  }
  if (state === '26000' || state === '42P05') {
    return new ConfigurationError(
      `${operation} met a connection pooler that does not keep prepared statements: ` +
        `${clauseOf(cause)}. Set \`preparedStatements: false\`, or DB_PREPARED_STATEMENTS=false.`,
      { cause },
    );
  }
  if (CERTIFICATE.test(state)) {
    return new ConfigurationError(
      `${operation} could not verify the certificate of the database's server: ${clauseOf(cause)}. ` +
        `Name the certificate of the authority that issued it, as ssl: { ca }, by the environment ` +
        `(NODE_EXTRA_CA_CERTS=<file>), or in the URL (?sslmode=verify-full&sslrootcert=<file>), and ` +
        `connect by the host name that it is for.`,
      { cause },
    );
  }
  if (message === 'The server does not support SSL connections') {
    return new ConfigurationError(
      `${operation} asked for TLS, and the database's server has none. ` +
        `Turn it on there, or off here: by \`ssl\`, DB_SSL, the URL, or PGSSLMODE.`,
      { cause },
    );
  }
  if (message === NO_CONNECTION_FREE) {
    return new DatabaseUnavailableError(operation, {
      cause,
      problem: poolIsFull('all connections'),
    });
  }
  if (isUnreachable(state, cause) || (state === '' && BROKEN.test(String(message)))) {
    const outcome = wasSent && !isAnswer(cause) ? 'unknown' : 'not done';
    return new DatabaseUnavailableError(operation, { cause, outcome });
  }
  if (state === '42P01' || state === '42703' || state === '3F000') {
    return new MigrationError(
      `${operation} needs a table, column or schema that is not there: ${clauseOf(cause)}. ` +
        `Run the migrations of this release first.`,
      { cause },
    );
  }
  if (state === '42501') {
    return new ConfigurationError(
      `${operation} is not allowed to this database role: ${clauseOf(cause)}. ` +
        `Grant the role the privileges listed in docs/roles.md.`,
      { cause },
    );
  }
  return error;
}

/**
 * The server has answered, and the statement is undone. An error that ends the connection is no answer:
 * it may have come after the commit.
 */
export const isAnswer = (cause: unknown): boolean => {
  const { severity, code } = (cause ?? {}) as { severity?: unknown; code?: unknown };
  return typeof severity === 'string' && typeof code === 'string' && !ENDS_CONNECTION.test(code);
};

/** Whether a kept plan does not fit any more, because a column was given another type. */
export const hasStalePlan = (cause: unknown): boolean => {
  const { routine } = (cause ?? {}) as { routine?: unknown };
  return stateOf(cause) === '0A000' && routine === 'RevalidateCachedQuery';
};

/** Whether the connection has lost its kept plans, as after `DISCARD ALL`. */
export const hasLostPlans = (cause: unknown): boolean => stateOf(cause) === '26000';

/** Administrator's command, crash, start, dropped database and timeouts that end a session; a broken protocol. */
const ENDS_CONNECTION = /^(57P|25P0[34]|08)/;

/** @param connections - which connections, and what holds them as far as is known */
export const poolIsFull = (connections: string): string =>
  `got no connection: ${connections} of the pool are in use. Inside of a transaction pass ` +
  `\`{ manager }\`, so that the call uses the connection which the transaction has; or raise \`poolSize\`.`;

function isRefusedLogin(state: string, message: string): boolean {
  return (
    (state === '08P01' && POOLER_LOGIN.test(message)) ||
    (state === '' && DRIVER_LOGIN.test(message))
  );
}

/**
 * Classes 08 (connection), 53 (resources), 57P (operator intervention: shutdown, restart) and
 * 25006 (a read-only server, as during a failover), or no connection at all.
 */
function isUnreachable(state: string, cause: unknown): boolean {
  const { errors } = (cause ?? {}) as { errors?: unknown };
  if (Array.isArray(errors) && errors.length > 0 && state === '') {
    return (
      errors.length <= MAX_PARTS && errors.every((one) => isUnreachable(stateOf(one), undefined))
    );
  }
  return (
    UNREACHABLE.has(state) ||
    state.startsWith('08') ||
    state.startsWith('53') ||
    state.startsWith('57P') ||
    state === '25006' ||
    state === '25P03' ||
    state === '25P04'
  );
}

const stateOf = (error: unknown): string => {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
};
