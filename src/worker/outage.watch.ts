import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import {
  DatabaseUnavailableError,
  FrameForgeError,
  InvalidInputError,
  TransactionConflictError,
} from '../errors.js';
import { reasonOf } from '../errors.text.js';
import { healsSoon } from '../connection/healing.js';
import { backoffMs, OUTAGE_BACKOFF } from './backoff.js';

/** The codes of the errors that refuse a write: it is about something that has changed since. */
const REFUSALS: ReadonlySet<unknown> = new Set([
  'JOB_NOT_FOUND',
  'NOTIFICATION_NOT_FOUND',
  'INVALID_JOB_TRANSITION',
  'LEASE_LOST',
]);

/** SQLSTATE classes 22 and 23: what was to be written is wrong, or a constraint forbids it. */
const OF_DATA = /^2[23][0-9A-Z]{3}$/;

/** Whether an error is about what was to be written, so that no other try can succeed. */
function isFinal(error: unknown): boolean {
  if (error instanceof InvalidInputError) return true;
  const { code, driverError } = (error ?? {}) as { code?: unknown; driverError?: unknown };
  if (driverError !== undefined) return isFinal(driverError);
  return REFUSALS.has(code) || (typeof code === 'string' && OF_DATA.test(code));
}

/** What came of some work could not be recorded. That is no failure of the work. */
export class NotRecordedError extends Error {
  static {
    this.prototype.name = 'NotRecordedError';
  }
}

/** The worker ended before a statement succeeded that was tried again and again. */
export class WorkerStoppedError extends NotRecordedError {
  static {
    this.prototype.name = 'WorkerStoppedError';
  }
}

/**
 * Follows whether a worker's statements succeed, and logs a change of that once: not per poll, and not
 * for each of the things that an outage stops at the same time.
 */
export class OutageWatch {
  private readonly failing = new Set<Activity>();
  private readonly told = new Set<string>();
  private readonly over = new AbortController();

  constructor(private readonly logger: Logger) {}

  get isDown(): boolean {
    return this.told.size > 0;
  }

  /** @param what - the subject of the log's sentence, such as `Claiming jobs` */
  activity(what: string): Activity {
    return new Activity(what, this);
  }

  /** Ends all waits: what could not be recorded until now is left to the end of its lease. */
  stop(): void {
    this.over.abort();
  }

  /** @internal */
  failed(activity: Activity, error: unknown): void {
    this.failing.add(activity);
    // Two transactions that collided are no outage.
    if (error instanceof TransactionConflictError) return;
    const kind = kindOf(error);
    if (this.told.has(kind)) return;
    this.told.add(kind);
    const reason = error instanceof DatabaseUnavailableError ? error.cause : error;
    this.logger.warn(
      `${activity.what} failed, and is tried again until it works: ${reasonOf(reason)}`,
    );
  }

  /** @internal */
  succeeded(activity: Activity): void {
    this.failing.delete(activity);
    if (this.failing.size > 0 || this.told.size === 0) return;
    this.told.clear();
    this.logger.log('The database works again.');
  }

  /** @internal */
  forget(activity: Activity): void {
    this.failing.delete(activity);
  }

  /** @internal @throws WorkerStoppedError */
  async sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.over.signal }).catch((cause: unknown) => {
      throw new WorkerStoppedError('The worker stopped before the database was back.', { cause });
    });
  }
}

/** A statement that a worker repeats: it fails and recovers on its own. */
export class Activity {
  private failures = 0;

  constructor(
    readonly what: string,
    private readonly watch: OutageWatch,
  ) {}

  succeeded(): void {
    this.failures = 0;
    this.watch.succeeded(this);
  }

  /** @returns how long to wait before the next try, in ms */
  failed(error: unknown): number {
    this.failures = Math.min(this.failures + 1, 10);
    this.watch.failed(this, error);
    return backoffMs(this.failures, OUTAGE_BACKOFF);
  }

  /** Waits before the next try. @throws WorkerStoppedError once the worker has stopped */
  async wait(error: unknown): Promise<void> {
    await this.watch.sleep(this.failed(error));
  }

  /**
   * Runs a statement that records what came of some work until it succeeds, waiting longer after each
   * try. An outage is waited out. What else goes wrong, such as a timeout of the server, a password that
   * is being changed or a full disk, is tried again for as long as the work is the worker's own.
   *
   * @param isHeld - whether it still is, as far as is known here
   * @throws what the database says about the data, and a refusal
   * @throws NotRecordedError when the work is no longer held, or the worker has stopped
   */
  async untilRecorded<T>(statement: () => Promise<T>, isHeld: () => boolean): Promise<T> {
    const tries = this.another();
    try {
      for (;;) {
        try {
          const result = await statement();
          tries.succeeded();
          return result;
        } catch (error) {
          await tries.again(error, isHeld);
        }
      }
    } finally {
      tries.forget();
    }
  }

  /** Waits before the next try to record something. @throws as `untilRecorded` does */
  async again(error: unknown, isHeld: () => boolean): Promise<void> {
    if (isFinal(error)) throw error;
    if (!healsSoon(error) && !isHeld()) {
      throw new NotRecordedError(`${this.what} failed: ${reasonOf(error)}`, { cause: error });
    }
    await this.wait(error);
  }

  /** An activity of one caller of many, whose failures are counted apart from those of the others. */
  another(): Activity {
    return new Activity(this.what, this.watch);
  }

  /** There is nothing more to try: others tell whether the database is back. */
  forget(): void {
    this.failures = 0;
    this.watch.forget(this);
  }
}

/** An outage has many reasons in a row (reset, refused, starting up): it is one outage. */
function kindOf(error: unknown): string {
  const { code } = ((error as { driverError?: unknown }).driverError ?? error) as {
    code?: unknown;
  };
  if (error instanceof FrameForgeError) return error.code;
  return typeof code === 'string' ? code : reasonOf(error);
}
