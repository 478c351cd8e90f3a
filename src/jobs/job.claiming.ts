import type { SqlRunner } from '../connection/sql-runner.js';
import { JobStatus } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import { toJob } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.sql.js';

/** A claim with nothing left to default. */
export interface Claim {
  readonly limit: number;
  readonly leaseMs: number;
  readonly workerId: string;
  readonly maxAttempts: number;
}

/** What a claim found. */
export interface ClaimedJobs {
  readonly jobs: VideoJob[];
  /** How many jobs there were, exhausted ones included. */
  readonly found: number;
  /** How many jobs had no try left, and failed in this claim. */
  readonly exhausted: number;
  /** The latest time at which one of them was due; null when nothing was found. */
  readonly dueUntil: Date | null;
}

/**
 * Claims jobs that are due.
 *
 * @param dueFrom - passes over jobs that were due before this time; null for none. While a long
 *   transaction elsewhere holds back vacuum, the entries of jobs that are done pile up at the front of
 *   the index, and a claim that begins behind them does not read them all again.
 */
export async function claimJobs(
  db: SqlRunner,
  { limit, leaseMs, workerId, maxAttempts }: Claim,
  dueFrom: Date | null,
): Promise<ClaimedJobs> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  const values = [limit, leaseMs, workerId, maxAttempts, from];
  const rows = await db.run<Row>('claimJobs', statements.claimJobs, values);
  const claimed = rows.filter((row) => row['status'] === JobStatus.PROCESSING);
  return {
    jobs: claimed.map((row) => toJob(row)),
    found: rows.length,
    exhausted: rows.length - claimed.length,
    dueUntil: (rows[0]?.['dueUntil'] ?? null) as Date | null,
  };
}
