import type { PgClient, PgQuery, PgResult } from '../peers/pg.internals.js';

/**
 * Sends a statement and waits for its reply. By a callback and a timer of its own: what `pg` makes for a
 * promise or its `query_timeout` keeps the rows in memory until the next full garbage collection.
 *
 * @param timeoutMs - after which the caller has to give up the connection; for ever if left out
 */
export function reply(client: PgClient, query: PgQuery, timeoutMs?: number): Promise<PgResult> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      const error = new Error(`the server did not reply within ${timeoutMs} ms`);
      reject(Object.assign(error, { code: 'ETIMEDOUT' }));
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(giveUp, timeoutMs);
    client.query(query, (error, result) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve(result);
    });
  });
}
