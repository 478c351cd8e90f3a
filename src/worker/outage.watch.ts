import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@nestjs/common';
import { DatabaseUnavailableError, reasonOf, TransactionConflictError } from '../errors.js';
import { backoffMs, OUTAGE_BACKOFF } from './backoff.js';

/** Whether trying again can help. */
export const isTransient = (error: unknown): boolean =>
  error instanceof DatabaseUnavailableError || error instanceof TransactionConflictError;

/**
 * Follows whether a loop's statements succeed, and logs a change of that once, not every poll.
 */
export class OutageWatch {
  private failures = 0;
  private lastReason = '';
  private readonly over = new AbortController();

  constructor(
    private readonly logger: Logger,
    private readonly what: string,
  ) {}

  get isDown(): boolean {
    return this.failures > 0;
  }

  succeeded(): void {
    if (this.failures > 0) this.logger.log(`${this.what} works again.`);
    this.failures = 0;
    this.lastReason = '';
  }

  /** @returns how long to wait before the next try, in ms */
  failed(error: unknown): number {
    this.failures += 1;
    // An outage has many reasons in a row (reset, refused, starting up): it is one outage.
    const reason = error instanceof DatabaseUnavailableError ? 'unavailable' : reasonOf(error);
    if (reason !== this.lastReason) {
      this.logger.warn(
        `${this.what} does not work, and is tried until it does: ${reasonOf(error)}`,
      );
    }
    this.lastReason = reason;
    return backoffMs(Math.min(this.failures, 10), OUTAGE_BACKOFF);
  }

  /** Waits before the next try. @throws AbortError once the worker has stopped */
  async wait(error: unknown): Promise<void> {
    await sleep(this.failed(error), undefined, { signal: this.over.signal });
  }

  /** Ends all waits: what could not be recorded until now is left to the end of its lease. */
  stop(): void {
    this.over.abort();
  }
}
