import { claimPastSpent, failRows, toStep } from '../sql/claim.js';
import type { Claimed, ClaimRow, Step } from '../sql/claim.js';
import { hydrate } from '../sql/hydrate.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import { JobStatus, VideoJob } from '../schema/entities/index.js';
import type { Tables } from '../schema/tables.js';
import { announceMoved } from './job.changes.js';
import { announce } from './job.events.js';
import { JOB_COLUMNS } from './job.columns.js';
import type { JobHandle } from './job.inputs.js';
import { handleColumns } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.claiming.sql.js';

/** A claim in which every option has a value. */
export interface Claim {
  readonly limit: number;
  readonly leaseMs: number;
  readonly workerId: string;
  readonly maxAttempts: number;
}

/** Where a step of a claim begins: with jobs that became due at this time; null for all due jobs. */
export type DueFrom = Date | null;

/**
 * Claims jobs whose leases have ended.
 *
 * @param exceptAttempts - passes over jobs with exactly this number of attempts; over no job if left out
 */
export const claimLost = (
  db: SqlRunner,
  claim: Claim,
  dueFrom: DueFrom = null,
  exceptAttempts?: number,
): Promise<Claimed<VideoJob>> =>
  take(db, statements.claimLost, claim, dueFrom, [exceptAttempts ?? null]);

/** Claims jobs whose leases have ended and that have one try left. */
export const claimLastTries = (db: SqlRunner, claim: Claim): Promise<Claimed<VideoJob>> =>
  take(db, statements.claimLastTries, claim, null);

/** Claims pending jobs that are due. */
export const claimPending = (
  db: SqlRunner,
  claim: Claim,
  dueFrom: DueFrom = null,
): Promise<Claimed<VideoJob>> => take(db, statements.claimPending, claim, dueFrom);

/**
 * Claims first jobs whose leases have ended, and then pending jobs. Mostly no lease has ended: then one statement
 * finds that out, and claims the pending jobs.
 */
export async function claimAny(db: SqlRunner, claim: Claim): Promise<VideoJob[]> {
  let lost = false;
  const see = (about: Begun): void => {
    lost ||= (about as BegunUnlessLost).lost;
  };
  const { items } = await take(db, statements.claimUnlessLost, claim, null, [], see);
  // A lease may have ended between two statements of this claim.
  if (!lost || items.length > 0) return items;
  return claimLostThen(db, claim, (rest) => claimPending(db, rest));
}

/** Claims first jobs whose leases have ended, and then pending jobs. @param pending - claims pending jobs */
export async function claimLostThen(
  db: SqlRunner,
  claim: Claim,
  pending: (claim: Claim) => Promise<{ readonly items: VideoJob[] }>,
): Promise<VideoJob[]> {
  const { items: lost } = await claimLost(db, claim);
  if (lost.length === claim.limit) return lost;
  try {
    const rest = { ...claim, limit: claim.limit - lost.length };
    return lost.concat((await pending(rest)).items);
  } catch (error) {
    // The caller gets the jobs that are claimed already. The next call meets the error again.
    if (lost.length > 0) return lost;
    throw error;
  }
}

async function take(
  db: SqlRunner,
  statement: (t: Tables) => Statement,
  { limit, leaseMs, workerId, maxAttempts }: Claim,
  dueFrom: DueFrom,
  more: readonly unknown[] = [],
  see?: (about: Begun) => void,
): Promise<Claimed<VideoJob>> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  const claimed = await claimPastSpent(
    limit,
    async (places, look) => {
      const values = [places, leaseMs, workerId, maxAttempts, from, look, ...more];
      const rows = await db.run<Row>('claimJobs', statement, values);
      const [about, step] = toClaimedJobs(rows, workerId);
      see?.(about);
      return step;
    },
    (spent) => failSpent(db, maxAttempts, spent),
  );
  announceMoved(db.dataSource, undefined, () => claimed.items);
  return claimed;
}

/** Fails the jobs that a claim found without a try left. @returns how many */
export async function failSpent(
  db: SqlRunner,
  maxAttempts: number,
  spent: readonly string[],
): Promise<number> {
  const failed = await failRows(db, 'claimJobs', statements.failSpent, maxAttempts, spent);
  announce(db.dataSource, 'notifications', failed, undefined);
  return failed;
}

/** A lease that is still held, or that a cancellation or a deletion has ended. A lease with a locked row is not extended. */
export interface LeaseState {
  readonly jobId: string;
  readonly runNumber: number;
  readonly extended: boolean;
  readonly cancelled: boolean;
  /** The job no longer exists. */
  readonly deleted: boolean;
}

/**
 * Extends the leases that are still held. A lease whose row is locked keeps its deadline.
 *
 * @returns the states of the leases that are held, and of jobs that were cancelled or deleted. Every other
 *   lease is lost
 */
export async function extendLeases(
  db: SqlRunner,
  handles: readonly JobHandle[],
  leaseMs: number,
): Promise<LeaseState[]> {
  if (handles.length === 0) return [];
  const values = [...handleColumns(handles), leaseMs];
  return db.run<LeaseState>('extendLeases', statements.extendLeases, values);
}

/** The values that all runs of one claim share. */
export interface Begun extends ClaimRow {
  readonly leaseEnd: Date;
}

interface BegunUnlessLost extends Begun {
  /** Whether the lease of a job had ended, so that no pending job was claimed. */
  readonly lost: boolean;
}

/** The result of a claim's statement: the values of the whole claim, and the jobs in their new runs. */
export function toClaimedJobs<About extends Begun>(
  [about, ...rows]: readonly Row[],
  workerId: string,
): readonly [About, Step<VideoJob>] {
  const begun = about as unknown as About;
  const jobs = new Map<string, VideoJob>();
  for (const row of rows) jobs.set(row['jobId'] as string, toClaimedJob(row, begun, workerId));
  return [begun, toStep(begun, jobs)];
}

/** A job in its new run. Values that all jobs of a claim share are sent and read only once. */
function toClaimedJob(row: Row, { startedAt, leaseEnd }: Begun, workerId: string): VideoJob {
  const job = hydrate(VideoJob, JOB_COLUMNS, row);
  job.status = JobStatus.PROCESSING;
  job.startedAt = new Date(startedAt);
  job.availableAt = new Date(leaseEnd);
  job.workerId = workerId;
  job.progress = 0;
  job.resultUrl = job.frameCount = job.completedAt = null;
  job.progressMessage = job.cancelledAt = job.output = null;
  return job;
}
