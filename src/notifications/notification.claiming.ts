import { claimPastSpent, failRows, toStep } from '../sql/claim.js';
import type { Claimed, ClaimRow } from '../sql/claim.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import type { NotificationLog } from '../schema/entities/index.js';
import { toNotification } from './notification.row.js';
import type { Row } from './notification.row.js';
import * as statements from './notification.sql.js';

const OPERATION = 'claimNotifications';

/** How many notifications to claim, for how long, and how many tries each one has. */
interface Terms {
  readonly limit: number;
  readonly leaseMs: number;
  readonly maxAttempts: number;
}

/**
 * Claims notifications whose delivery is due.
 *
 * @param dueFrom - passes over notifications that were due before this time; null passes over none
 */
export function claimNotifications(
  db: SqlRunner,
  terms: Terms,
  dueFrom: Date | null = null,
): Promise<Claimed<NotificationLog>> {
  return claim(db, terms, dueFrom, statements.claimNotifications, (row) => toNotification(row));
}

/**
 * Claims notifications whose delivery is due, each with its job.
 *
 * @param statement - `claimWithJobs` of the columns that `read` needs
 * @param read - converts a row to an item
 */
export function claim<T>(
  db: SqlRunner,
  { limit, leaseMs, maxAttempts }: Terms,
  dueFrom: Date | null,
  statement: (t: Tables) => Statement,
  read: (row: Row) => T,
): Promise<Claimed<T>> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  return claimPastSpent(
    limit,
    async (places, look) => {
      const values = [places, leaseMs, maxAttempts, from, look];
      const [about, ...rows] = await db.run<Row>(OPERATION, statement, values);
      const items = new Map(rows.map((row) => [row['notificationId'] as string, read(row)]));
      return toStep(about as unknown as ClaimRow, items);
    },
    (spent) => failSpent(db, maxAttempts, spent),
  );
}

/** Fails the notifications that a claim found without a try left. @returns how many */
export const failSpent = (
  db: SqlRunner,
  maxAttempts: number,
  spent: readonly string[],
): Promise<number> => failRows(db, OPERATION, statements.failSpent, maxAttempts, spent);
