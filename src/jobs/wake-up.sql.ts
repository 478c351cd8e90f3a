import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';

/** $1 the channel, $2 the messages. */
export const notifyQueues = (): Statement => sql`
  SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message`;
