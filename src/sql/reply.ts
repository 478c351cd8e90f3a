import type { PgClient, PgQuery, PgResult } from '../peers/pg.internals.js';

class UnansweredError extends Error {
  readonly code = 'ETIMEDOUT';
}

/** Whether the error means that no reply came in time, so that the connection must be replaced. */
export const isUnanswered = (error: unknown): boolean => error instanceof UnansweredError;

/**
 * Sends a statement and waits for its reply. Uses a callback and its own timer, because the promise and the
 * `query_timeout` of `pg` keep the rows in memory until the next full garbage collection.
 *
 * @param timeoutMs - how long to wait; then the caller must give up the connection. For ever if left out
 */
export function reply(client: PgClient, query: PgQuery, timeoutMs?: number): Promise<PgResult> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      reject(new UnansweredError(`the server did not reply within ${timeoutMs} ms`));
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(giveUp, timeoutMs);
    client.query(query, (error, result) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve(result);
    });
  });
}
