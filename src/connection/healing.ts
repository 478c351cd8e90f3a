import {
  DatabaseUnavailableError,
  StatementTimeoutError,
  TransactionConflictError,
} from '../errors.js';

/**
 * Whether the same can succeed at a later time: the server was away, full, starting or read-only in a
 * failover, ended the statement because it took too long, or undid it for the sake of another.
 */
export const canHeal = (error: unknown): error is Error =>
  error instanceof DatabaseUnavailableError ||
  error instanceof TransactionConflictError ||
  error instanceof StatementTimeoutError;

/**
 * Whether the same can succeed in a moment and without help, so that a boot waits for it: not so a disk
 * that is full, or a lock that somebody holds for longer than `lock_timeout`.
 */
export function healsSoon(error: unknown): error is Error {
  if (!canHeal(error) || error instanceof StatementTimeoutError) return false;
  const { code } = (error.cause ?? {}) as { code?: unknown };
  return code !== '53100';
}
