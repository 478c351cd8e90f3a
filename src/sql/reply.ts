import type { PgClient, PgQuery, PgResult } from '../peers/pg.internals.js';

class UnansweredError extends Error {
  readonly code = 'ETIMEDOUT';
}

/** Whether a reply was waited for in vain, so that the connection is of no use any more. */
export const isUnanswered = (error: unknown): boolean => error instanceof UnansweredError;

/**
 * Sends a statement and waits for its reply. By a callback and a timer of its own: what `pg` makes for a
 * promise or its `query_timeout` keeps the rows in memory until the next full garbage collection.
 *
 * @param timeoutMs - after which the caller has to give up the connection; for ever if left out
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
