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
  /**
   * Whether to claim suspects: jobs whose workers were lost, and which have one try left. With true one
   * of them, with false none. Left out, they are claimed like all others.
   */
  readonly suspects?: boolean;
}

/** What a claim found. */
export interface ClaimedJobs {
  readonly jobs: VideoJob[];
  /** The one of them that is a suspect, if `suspects` was true and there is one. */
  readonly suspect: VideoJob | undefined;
  /** How many jobs there were, exhausted ones and those passed over as suspects included. */
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
  { limit, leaseMs, workerId, maxAttempts, suspects }: Claim,
  dueFrom: Date | null,
): Promise<ClaimedJobs> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  const values = [limit, leaseMs, workerId, maxAttempts, from, suspects ?? null];
  const rows = await db.run<Row>('claimJobs', statements.claimJobs, values);
  const claimed = rows.filter((row) => row['status'] === JobStatus.PROCESSING);
  const jobs = claimed.map((row) => toJob(row));
  return {
    jobs,
    suspect: suspects === true ? jobs[claimed.findIndex((row) => row['suspect'])] : undefined,
    found: (rows[0]?.['found'] ?? 0) as number,
    exhausted: rows.length - claimed.length,
    dueUntil: (rows[0]?.['dueUntil'] ?? null) as Date | null,
  };
}
