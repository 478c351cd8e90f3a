import { RequestBatcher } from '../sql/request.batcher.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import { JobStatus } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import { announce } from './job.events.js';
import { toJob } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.claiming.sql.js';

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
  /** Claims only jobs whose leases have ended within this time, in ms. Left out, whatever is due. */
  readonly lostWithinMs?: number;
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
  { limit, leaseMs, workerId, maxAttempts, suspects, lostWithinMs }: Claim,
  dueFrom: Date | null,
): Promise<ClaimedJobs> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  const which = [suspects ?? null, lostWithinMs ?? null];
  const values = [limit, leaseMs, workerId, maxAttempts, from, ...which];
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

/**
 * Claims that are made at the same time by calls that have nothing to do with each other. Those on the
 * same terms share what one statement claims, each up to its limit.
 */
export const claimingTogether = (db: SqlRunner): RequestBatcher<Claim, VideoJob[]> =>
  new RequestBatcher({
    operation: 'claimJobs',
    alone: async (claim) => claimInAll(db, claim, 1),
    together: async (claims) => {
      const [first] = claims;
      const shares = claims.map((claim) => (isOnTermsOf(claim, first) ? claim.limit : 0));
      const limit = shares.reduce((sum, share) => sum + share, 0);
      const atLeast = shares.filter((share) => share > 0).length;
      const jobs = await claimInAll(db, { ...(first as Claim), limit }, atLeast);
      return shares.map((share) => (share > 0 ? jobs.splice(0, share) : undefined));
    },
  });

/** @param atLeast - how many jobs must be found before it is not looked for more */
async function claimInAll(db: SqlRunner, claim: Claim, atLeast: number): Promise<VideoJob[]> {
  const all: VideoJob[] = [];
  for (;;) {
    const limit = claim.limit - all.length;
    const { jobs, exhausted } = await claimJobs(db, { ...claim, limit }, null);
    announce(db.dataSource, 'notifications', exhausted, undefined);
    all.push(...jobs);
    // Behind those that had no try left there may be more.
    if (exhausted === 0 || all.length >= atLeast) return all;
  }
}

const isOnTermsOf = (claim: Claim, other: Claim | undefined): boolean =>
  claim.workerId === other?.workerId &&
  claim.leaseMs === other.leaseMs &&
  claim.maxAttempts === other.maxAttempts;
