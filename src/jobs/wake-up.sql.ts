import { sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';

/** Arrays: $1 the channels, $2 the payload for each. */
export const notify = (): Statement => sql`
  SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS message(channel, payload)`;
