import { RequestBatcher } from '../sql/request.batcher.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { TransactionOptions } from '../sql/transaction.options.js';
import type { Statement } from '../sql/statement.js';
import { InvalidJobTransitionError, JobNotFoundError, LeaseLostError } from '../errors.js';
import { toNotification } from '../notifications/notification.row.js';
import type { JobStatus, NotificationLog, VideoJob } from '../schema/entities/index.js';
import type { Tables } from '../schema/tables.js';
import { announce } from './job.events.js';
import type { JobHandle } from './job.inputs.js';
import { handleColumns, toJob } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.settlement.sql.js';

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
  const byPosition = await settle(db, operation, statements.settleJobs, settlements, tx);
  return settlements.map(({ handle: { jobId } }, index) =>
    verdict(jobId, move, byPosition.get(index + 1)),
  );
}

/** The same for one job, whose refusal is thrown. */
export async function settleJob(
  db: SqlRunner,
  operation: string,
  move: string,
  settlement: Settlement,
  tx: TransactionOptions,
): Promise<SettledJob> {
  const values = columnsOf([settlement]).map(([value]) => value);
  const [row] = await db.run<Row>(operation, statements.settleJob, values, tx);
  announceNotifications(db, row === undefined ? [] : [row], tx);
  return accepted(verdict(settlement.handle.jobId, move, row));
}

/**
 * Jobs that are settled at the same time by calls that have nothing to do with each other. A job that
 * somebody has locked holds up its own call alone.
 */
export const settlingTogether = (
  db: SqlRunner,
  operation: string,
  move: string,
): RequestBatcher<Settlement, SettledJob> =>
  new RequestBatcher({
    operation,
    rowOf: ({ handle }) => handle.jobId.toLowerCase(),
    alone: (settlement) => settleJob(db, operation, move, settlement, {}),
    together: async (settlements) => {
      const byPosition = await settle(
        db,
        operation,
        statements.settleJobsTogether,
        settlements,
        {},
      );
      return settlements.map(({ handle: { jobId } }, index) => {
        const row = byPosition.get(index + 1);
        return row?.['accepted'] === true ? accepted(verdict(jobId, move, row)) : undefined;
      });
    },
  });

/**
 * Completes jobs by one statement, for a caller that needs neither job nor notification.
 *
 * @returns whether each was completed; if not, it is locked, or it is refused
 */
export async function completeBriefly(
  db: SqlRunner,
  operation: string,
  settlements: readonly Settlement[],
): Promise<boolean[]> {
  const values = columnsOf(settlements);
  const rows = await db.run<Row>(operation, statements.settleJobsBriefly, values);
  const done = new Set(rows.filter((row) => row['accepted']).map((row) => row['position']));
  announce(db.dataSource, 'notifications', done.size, undefined);
  return settlements.map((_, index) => done.has(index + 1));
}

/** Settles jobs by one statement of several. @returns its rows by the jobs' places in the list, from 1 */
async function settle(
  db: SqlRunner,
  operation: string,
  statement: (tables: Tables) => Statement,
  settlements: readonly Settlement[],
  tx: TransactionOptions,
): Promise<Map<unknown, Row>> {
  const rows = await db.run<Row>(operation, statement, columnsOf(settlements), tx);
  announceNotifications(db, rows, tx);
  return new Map(rows.map((row) => [row['position'], row]));
}

/** The statements' parameters, as arrays with an entry for each job. */
const columnsOf = (settlements: readonly Settlement[]): unknown[][] => [
  ...handleColumns(settlements.map(({ handle }) => handle)),
  settlements.map(({ next }) => next),
  settlements.map(({ resultUrl }) => resultUrl ?? null),
  settlements.map(({ frameCount }) => frameCount ?? null),
  settlements.map(({ errorMessage }) => errorMessage ?? null),
  settlements.map(({ delayMs }) => delayMs ?? 0),
  settlements.map(({ refund }) => refund ?? 0),
];

function announceNotifications(db: SqlRunner, rows: readonly Row[], tx: TransactionOptions): void {
  const logged = rows.filter((row) => row['notification.notificationId'] !== null);
  announce(db.dataSource, 'notifications', logged.length, tx.manager);
}

function verdict(
  jobId: string,
  move: string,
  row: Row | undefined,
): SettledJob | { readonly error: JobRefusal } {
  if (row === undefined) return { error: new JobNotFoundError(jobId) };
  if (row['accepted'] !== true) return { error: refusal(jobId, move, row) };
  const notification =
    row['notification.notificationId'] === null ? null : toNotification(row, 'notification.');
  return { job: toJob(row, 'job.'), notification };
}

function accepted(settled: SettledJob | { readonly error: JobRefusal }): SettledJob {
  if ('error' in settled) throw settled.error;
  return settled;
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
