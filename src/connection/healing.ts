import {
  DatabaseUnavailableError,
  StatementTimeoutError,
  TransactionConflictError,
} from '../errors.js';

/**
 * Whether a later try can succeed. The server was away, full, starting, or read-only in a failover. Or it ended
 * the statement because it took too long, or undid it because of another transaction.
 */
export const canHeal = (error: unknown): error is Error =>
  error instanceof DatabaseUnavailableError ||
  error instanceof TransactionConflictError ||
  error instanceof StatementTimeoutError;

/**
 * Whether a try in a moment can succeed without help, so that the start of the application waits for it. A full
 * disk is not such a case. Neither is a lock that somebody holds for longer than `lock_timeout`.
 */
export function healsSoon(error: unknown): error is Error {
  if (!canHeal(error) || error instanceof StatementTimeoutError) return false;
  const { code } = (error.cause ?? {}) as { code?: unknown };
  return code !== '53100';
}
