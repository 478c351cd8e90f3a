import { claimPastFailed } from '../sql/claim.js';
import type { Claimed, ClaimRow } from '../sql/claim.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { NotificationLog } from '../schema/entities/index.js';
import { toNotification } from './notification.row.js';
import type { Row } from './notification.row.js';
import * as statements from './notification.sql.js';

/**
 * Claims notifications whose delivery is due.
 *
 * @param dueFrom - passes over those that were due before this time; null for none
 */
export function claimNotifications(
  db: SqlRunner,
  { limit, leaseMs, maxAttempts }: { limit: number; leaseMs: number; maxAttempts: number },
  dueFrom: Date | null = null,
): Promise<Claimed<NotificationLog>> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  return claimPastFailed(limit, async (places, look) => {
    const values = [places, leaseMs, maxAttempts, from, look];
    const operation = 'claimNotifications';
    const [about, ...rows] = await db.run<Row>(operation, statements.claimNotifications, values);
    return [about as unknown as ClaimRow, rows.map((row) => toNotification(row))] as const;
  });
}
