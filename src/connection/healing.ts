import { DatabaseUnavailableError, TransactionConflictError } from '../errors.js';

/**
 * Whether the same can succeed in a moment: the server was away, starting, read-only in a failover, or
 * had undone the transaction for the sake of another. Not so a disk that is full.
 */
export function canHeal(error: unknown): error is Error {
  const { code } = ((error as Error | undefined)?.cause ?? {}) as { code?: unknown };
  return (
    (error instanceof DatabaseUnavailableError && code !== '53100') ||
    error instanceof TransactionConflictError
  );
}
