import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';

/** $1 the channel, $2 the queues that have grown. */
export const notifyQueues = (): Statement => sql`
  SELECT pg_notify($1, queue) FROM unnest($2::text[]) AS queue`;
