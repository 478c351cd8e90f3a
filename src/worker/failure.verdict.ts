import { backoffMs } from './backoff.js';
import type { BackoffOptions } from './worker.options.js';
import { RetryJobError, UnrecoverableJobError } from './worker.types.js';

/** The verdict on a job whose handler has thrown. */
export interface FailureVerdict {
  /** When the job is tried again, in ms from now; undefined if it has failed for good. */
  readonly retryInMs: number | undefined;
  /** Whether the attempt counts. */
  readonly counts: boolean;
}

/** @param attempts - the number of attempts, including this one */
export function verdictOn(
  cause: unknown,
  attempts: number,
  { maxAttempts, backoff }: { maxAttempts: number; backoff: BackoffOptions },
): FailureVerdict {
  const retry = cause instanceof RetryJobError ? cause : undefined;
  const counts = retry?.countAttempt ?? true;
  const isFinal = cause instanceof UnrecoverableJobError || (counts && attempts >= maxAttempts);
  return { retryInMs: isFinal ? undefined : (retry?.inMs ?? backoffMs(attempts, backoff)), counts };
}
