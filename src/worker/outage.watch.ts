import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import {
  DatabaseUnavailableError,
  FrameForgeError,
  reasonOf,
  TransactionConflictError,
} from '../errors.js';
import { canHeal } from '../connection/healing.js';
import { backoffMs, OUTAGE_BACKOFF } from './backoff.js';

/** The worker ended before a statement succeeded that was tried again and again. */
export class WorkerStoppedError extends Error {
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
      `${activity.what} does not work, and is tried until it does: ${reasonOf(reason)}`,
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
   * Runs a statement until the database answers, waiting longer after each try.
   *
   * @throws what the database answers, if that is an error; WorkerStoppedError once the worker has stopped
   */
  async untilAnswered<T>(statement: () => Promise<T>): Promise<T> {
    const tries = this.another();
    for (;;) {
      try {
        const result = await statement();
        tries.succeeded();
        return result;
      } catch (error) {
        if (!canHeal(error)) {
          tries.forget();
          throw error;
        }
        await tries.wait(error);
      }
    }
  }

  /** The same for one caller of many, whose failures are counted apart from those of the others. */
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
