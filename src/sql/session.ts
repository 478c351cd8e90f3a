import { prepareClient } from '../connection/pools.js';
import { onSetting } from '../peers/pg.internals.js';
import type { PgClient } from '../peers/pg.internals.js';
import { reply } from './reply.js';

/** The settings of a session that matter to the statements of this package. */
export interface Session {
  /** Whether a transaction that names no level is stricter than READ COMMITTED. */
  readonly isStrict: boolean;
  /** How times are written. */
  dateStyle: string;
  /** Whether named prepared statements may be used. False after a plan was lost or became out of date. */
  keepsPlans: boolean;
}

const sessions = new WeakMap<PgClient, Session>();

const LOOK = `SELECT current_setting('default_transaction_isolation') AS isolation,
  current_setting('DateStyle') AS dates`;

/**
 * Reads the settings of a connection's session once. The server reports later changes of the date style by
 * itself.
 */
export async function sessionOf(client: PgClient, timeoutMs: number | undefined): Promise<Session> {
  const known = sessions.get(client);
  if (known !== undefined) return known;
  prepareClient(client);
  const { rows } = await reply(client, { text: LOOK }, timeoutMs);
  const [{ isolation, dates }] = rows as unknown as [{ isolation: string; dates: string }];
  const isStrict = isolation !== 'read committed' && isolation !== 'read uncommitted';
  const session: Session = { isStrict, dateStyle: dates, keepsPlans: true };
  onSetting(client, 'DateStyle', (value) => {
    session.dateStyle = value;
  });
  sessions.set(client, session);
  return session;
}

/** Whether the server writes times in the unambiguous ISO style. */
export const writesIso = ({ dateStyle }: Session): boolean => dateStyle.startsWith('ISO');
