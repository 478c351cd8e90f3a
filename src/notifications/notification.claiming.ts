import type { SqlRunner } from '../sql/sql.runner.js';
import { DeliveryStatus } from '../schema/entities/index.js';
import type { NotificationLog } from '../schema/entities/index.js';
import { toNotification } from './notification.row.js';
import type { Row } from './notification.row.js';
import * as statements from './notification.sql.js';

/** What a claim found. */
export interface ClaimedNotifications {
  readonly notifications: NotificationLog[];
  /** How many there were, with those that had no try left and ended in this claim. */
  readonly found: number;
  /** The latest time at which one of them was due; null when nothing was found. */
  readonly dueUntil: Date | null;
}

/**
 * Claims notifications whose delivery is due.
 *
 * @param dueFrom - passes over those that were due before this time; null for none (see `claimJobs`)
 */
export async function claimNotifications(
  db: SqlRunner,
  claim: { limit: number; leaseMs: number; maxAttempts: number },
  dueFrom: Date | null,
): Promise<ClaimedNotifications> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  const values = [claim.limit, claim.leaseMs, claim.maxAttempts, from];
  const rows = await db.run<Row>('claimNotifications', statements.claimNotifications, values);
  const claimed = rows.filter((row) => row['deliveryStatus'] === DeliveryStatus.PENDING);
  return {
    notifications: claimed.map((row) => toNotification(row)),
    found: rows.length,
    dueUntil: (rows[0]?.['dueUntil'] ?? null) as Date | null,
  };
}
