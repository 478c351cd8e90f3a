import type { BackoffOptions } from './worker.options.js';

/**
 * The wait before the next try: exponential, with equal jitter, half of it fixed and half random
 * (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
 *
 * @param attempt - how many tries there have been, 1 or more
 * @returns milliseconds
 */
export function backoffMs(attempt: number, { baseMs, maxMs }: BackoffOptions): number {
  const wait = Math.min(baseMs * 2 ** (attempt - 1), maxMs);
  return Math.round(wait / 2 + (Math.random() * wait) / 2);
}

/** The backoff while the database cannot be reached. */
export const OUTAGE_BACKOFF: BackoffOptions = { baseMs: 100, maxMs: 5_000 };
