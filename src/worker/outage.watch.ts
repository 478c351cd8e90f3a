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

/** The codes of errors that refuse a write because the row has changed since. */
const REFUSALS: ReadonlySet<unknown> = new Set([
  'JOB_NOT_FOUND',
  'NOTIFICATION_NOT_FOUND',
  'INVALID_JOB_TRANSITION',
  'LEASE_LOST',
]);

/** SQLSTATE classes 22 and 23: the values are wrong, or a constraint forbids them. */
const OF_DATA = /^2[23][0-9A-Z]{3}$/;

/** Whether an error is about the values to write, so that no other try can succeed. */
function isFinal(error: unknown): boolean {
  if (error instanceof InvalidInputError) return true;
  const { code, driverError } = (error ?? {}) as { code?: unknown; driverError?: unknown };
  if (driverError !== undefined) return isFinal(driverError);
  return REFUSALS.has(code) || (typeof code === 'string' && OF_DATA.test(code));
}

/** The outcome of some work could not be recorded. This does not mean that the work failed. */
export class NotRecordedError extends Error {
  static {
    this.prototype.name = 'NotRecordedError';
  }
}

/** The worker ended while it still tried a statement again and again. */
export class WorkerStoppedError extends NotRecordedError {
  static {
    this.prototype.name = 'WorkerStoppedError';
  }
}

/**
 * Watches whether the statements of a worker succeed, and logs a change only once: not for each poll, and not for each
 * activity that an outage stops.
 */
export class OutageWatch {
  private readonly failing = new Set<Activity>();
  private readonly told = new Set<string>();
  private readonly over = new AbortController();

  constructor(private readonly logger: Logger) {}

  get isDown(): boolean {
    return this.told.size > 0;
  }

  /** @param what - the subject of the log line, such as `Claiming jobs` */
  activity(what: string): Activity {
    return new Activity(what, this);
  }

  /** Ends all waits. If an outcome is not recorded by now, its job runs again when the lease ends. */
  stop(): void {
    this.over.abort();
  }

  /** @internal */
  failed(activity: Activity, error: unknown): void {
    this.failing.add(activity);
    // A conflict of two transactions is not an outage.
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

/** A statement that a worker repeats. Its failures and its recovery are counted separately from those of others. */
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
   * Runs a statement that records the outcome of some work until it succeeds. It waits longer after each try. It waits
   * for the end of an outage. Other problems, such as a timeout of the server, a password that is being changed or a
   * full disk, are tried again as long as the worker holds the work.
   *
   * @param isHeld - whether the worker still holds the work, as far as this process knows
   * @throws an error of the database about the data, or a refusal
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

  /** An activity of one of many callers. Its failures are counted separately from those of the others. */
  another(): Activity {
    return new Activity(this.what, this.watch);
  }

  /** Ends the activity. Other activities find out whether the database is back. */
  forget(): void {
    this.failures = 0;
    this.watch.forget(this);
  }
}

/** One outage may have several reasons in a row (reset, refused, starting up), and still counts as one. */
function kindOf(error: unknown): string {
  const { code } = ((error as { driverError?: unknown }).driverError ?? error) as {
    code?: unknown;
  };
  if (error instanceof FrameForgeError) return error.code;
  return typeof code === 'string' ? code : reasonOf(error);
}
