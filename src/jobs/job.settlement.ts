import type { SqlRunner, TransactionOptions } from '../connection/sql-runner.js';
import { InvalidJobTransitionError, JobNotFoundError, LeaseLostError } from '../errors.js';
import { toNotification } from '../notifications/notification.row.js';
import type { JobStatus, NotificationLog, VideoJob } from '../schema/entities/index.js';
import { announce } from './job.events.js';
import type { JobHandle } from './job.inputs.js';
import { handleColumns, toJob } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.sql.js';

/** A move out of `processing`. */
export interface Settlement {
  readonly handle: JobHandle;
  readonly next: JobStatus;
  readonly resultUrl?: string;
  readonly frameCount?: number;
  readonly errorMessage?: string;
  /** How long, in ms, until a job that becomes pending is due. */
  readonly delayMs?: number;
  /** How many attempts are given back. */
  readonly refund?: number;
}

/** A job after such a move, and the notification of it if the move was final. */
export interface SettledJob {
  readonly job: VideoJob;
  readonly notification: NotificationLog | null;
}

/** Why a move was refused. */
export type JobRefusal = JobNotFoundError | LeaseLostError | InvalidJobTransitionError;

/**
 * Moves jobs out of `processing` in one statement, and says of each what came of it.
 *
 * @param move - what the jobs are to be, for the message of a refusal
 */
export async function settleJobs(
  db: SqlRunner,
  operation: string,
  move: string,
  settlements: readonly Settlement[],
  tx: TransactionOptions,
): Promise<(SettledJob | { readonly error: JobRefusal })[]> {
  const values = [
    ...handleColumns(settlements.map(({ handle }) => handle)),
    settlements.map(({ next }) => next),
    settlements.map(({ resultUrl }) => resultUrl ?? null),
    settlements.map(({ frameCount }) => frameCount ?? null),
    settlements.map(({ errorMessage }) => errorMessage ?? null),
    settlements.map(({ delayMs }) => delayMs ?? 0),
    settlements.map(({ refund }) => refund ?? 0),
  ];
  const rows =
    settlements.length === 1
      ? await db.run<Row>(
          operation,
          statements.settleJob,
          values.map(([value]) => value),
          tx,
        )
      : await db.run<Row>(operation, statements.settleJobs, values, tx);
  const logged = rows.filter((row) => row['notification.notificationId'] !== null);
  announce(db.dataSource, 'notifications', logged.length, tx.manager);
  const byPosition = new Map(rows.map((row) => [row['position'], row]));
  return settlements.map(({ handle: { jobId } }, index) => {
    const row = byPosition.get(index + 1);
    if (row === undefined) return { error: new JobNotFoundError(jobId) };
    if (row['job.jobId'] === null) return { error: refusal(jobId, move, row) };
    const notification =
      row['notification.notificationId'] === null ? null : toNotification(row, 'notification.');
    return { job: toJob(row, 'job.'), notification };
  });
}

/** The same for one job, whose refusal is thrown. */
export async function settleJob(
  db: SqlRunner,
  operation: string,
  move: string,
  settlement: Settlement,
  tx: TransactionOptions,
): Promise<SettledJob> {
  const [verdict] = await settleJobs(db, operation, move, [settlement], tx);
  if (verdict === undefined || 'error' in verdict) throw verdict?.error;
  return verdict;
}

/** The job of a statement that moves one job by its id, or the error that says why it did not. */
export function movedJob(jobId: string, move: string, row: Row | undefined): VideoJob {
  if (row === undefined) throw new JobNotFoundError(jobId);
  if (row['job.jobId'] === null) throw refusal(jobId, move, row);
  return toJob(row, 'job.');
}

/** Why a move was refused, by the state in which the locked row was found. */
function refusal(
  jobId: string,
  move: string,
  row: Row,
): LeaseLostError | InvalidJobTransitionError {
  const status = row['statusBefore'] as JobStatus;
  const runNumber = row['runNumberBefore'] as number;
  return row['lost'] === true
    ? new LeaseLostError({ jobId, status, runNumber })
    : new InvalidJobTransitionError(jobId, move, status, runNumber);
}
