import { RequestBatcher } from '../sql/request.batcher.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { Statement } from '../sql/statement.js';
import type { TransactionOptions } from '../sql/transaction.options.js';
import { InvalidJobTransitionError, JobNotFoundError, LeaseLostError } from '../errors.js';
import { newNotification } from '../notifications/notification.row.js';
import { JobStatus } from '../schema/entities/index.js';
import type { NotificationLog, VideoJob } from '../schema/entities/index.js';
import type { Tables } from '../schema/tables.js';
import type { ChangedJob } from './job.changes.js';
import { announceMoved } from './job.changes.js';
import { announce } from './job.events.js';
import type { JobHandle, JobResult } from './job.inputs.js';
import { handleColumns, json, sparseColumn, toJob } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.settlement.sql.js';
import { uuidV7 } from './uuid.js';

/** A move out of `processing`. */
export interface Settlement {
  readonly handle: JobHandle;
  readonly next: JobStatus;
  /** The result, if the job is completed. */
  readonly result?: JobResult;
  /** Why the run failed. The job's user reads this text. */
  readonly errorMessage?: string;
  /** The text for `job_attempt_errors`; the `errorMessage` if left out, no row if null. */
  readonly attemptError?: string | null;
  /** How long, in ms, until a job that becomes pending is due. */
  readonly delayMs?: number;
  /** How many attempts are given back. */
  readonly refund?: number;
}

/** A run that succeeded, and its result. */
export interface Completion {
  readonly handle: JobHandle;
  readonly result: JobResult;
}

/** A job after a move out of `processing`, and its notification if the move was final. */
export interface SettledJob {
  /** The job as it is now. */
  readonly job: VideoJob;
  /** The notification that was logged with it; null if the move was not final. */
  readonly notification: NotificationLog | null;
}

/** Why a move was refused. */
export type JobRefusal = JobNotFoundError | LeaseLostError | InvalidJobTransitionError;

/** The outcome of a move: the settled job, or why it was refused. */
export type Verdict = SettledJob | { readonly error: JobRefusal };

/**
 * Moves jobs out of `processing` in one statement, and returns the outcome for each.
 *
 * @param move - the move as a word, such as `completed`, for the message of a refusal
 */
export const settleJobs = (
  db: SqlRunner,
  operation: string,
  move: string,
  settlements: readonly Settlement[],
  tx: TransactionOptions,
): Promise<Verdict[]> =>
  settle(db, statements.settleJobs, operation, move, settlements, tx) as Promise<Verdict[]>;

/** Gives jobs back without counting the attempt. @returns the outcome for each; undefined if its row is locked */
export function releaseUnlocked(
  db: SqlRunner,
  handles: readonly JobHandle[],
): Promise<(Verdict | undefined)[]> {
  const releases = handles.map((handle) => ({ handle, next: JobStatus.PENDING, refund: 1 }));
  return settle(db, statements.settleUnlockedJobs, 'releaseJob', 'released', releases, {});
}

async function settle(
  db: SqlRunner,
  statement: (t: Tables) => Statement,
  operation: string,
  move: string,
  settlements: readonly Settlement[],
  tx: TransactionOptions,
): Promise<(Verdict | undefined)[]> {
  const notificationIds = settlements.map(() => uuidV7());
  const values = [
    ...handleColumns(settlements.map(({ handle }) => handle)),
    settlements.map(({ next }) => next),
    settlements.map(({ result }) => result?.resultUrl ?? null),
    settlements.map(({ result }) => result?.frameCount ?? null),
    settlements.map(({ errorMessage }) => errorMessage ?? null),
    settlements.map(({ errorMessage, attemptError = errorMessage }) => attemptError ?? null),
    settlements.map(({ delayMs }) => delayMs ?? 0),
    settlements.map(({ refund }) => refund ?? 0),
    notificationIds,
    sparseColumn(settlements.map(({ result }) => json(result?.output))),
  ];
  const rows = await db.run<Row>(operation, statement, values, tx);
  const verdicts: (Verdict | undefined)[] = settlements.map(({ handle: { jobId } }) => ({
    error: new JobNotFoundError(jobId),
  }));
  let notifications = 0;
  for (const row of rows) {
    const index = (row['position'] as number) - 1;
    const { handle } = settlements[index] as Settlement;
    if (row['statusBefore'] === null) verdicts[index] = undefined;
    else if (row['jobId'] === null) verdicts[index] = { error: refusal(handle.jobId, move, row) };
    else {
      const settled = settledJob(row, notificationIds[index] as string);
      verdicts[index] = settled;
      if (settled.notification !== null) notifications += 1;
    }
  }
  announce(db.dataSource, 'notifications', notifications, tx.manager);
  announceMoved(db.dataSource, tx.manager, () =>
    verdicts.flatMap((one) => (one === undefined || 'error' in one ? [] : [one.job])),
  );
  return verdicts;
}

/**
 * Moves one job out of `processing`.
 *
 * @param move - the move as a word, such as `completed`, for the message of a refusal
 * @throws JobRefusal; nothing was written
 */
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

/** Completes one job. @throws JobRefusal; nothing was written */
export const completeJob = (
  db: SqlRunner,
  completion: Completion,
  tx: TransactionOptions,
): Promise<SettledJob> =>
  settleJob(db, 'completeJob', 'completed', { ...completion, next: JobStatus.COMPLETED }, tx);

/** Completes the jobs of independent calls that come at the same time, in one statement. */
export const completionsTogether = (db: SqlRunner): RequestBatcher<Completion, SettledJob> =>
  new RequestBatcher({
    operation: 'completeJob',
    rowOf: ({ handle }) => handle.jobId.toLowerCase(),
    alone: (completion) => completeJob(db, completion, {}),
    together: async (completions) => {
      const notificationIds = completions.map(() => uuidV7());
      const [jobIds, runNumbers, workerIds] = handleColumns(
        completions.map(({ handle }) => handle),
      );
      const results = completions.map(({ result }) => result);
      const [urls, counts, outputs] = resultColumns(results);
      const values = [jobIds, runNumbers, urls, counts, notificationIds, outputs, workerIds];
      const rows = await db.run<Row>('completeJob', statements.completeJobsTogether, values);
      announce(db.dataSource, 'notifications', rows.length, undefined);
      announceMoved(db.dataSource, undefined, () => rows as unknown as ChangedJob[]);
      const settled = Array.from<SettledJob | undefined>({ length: completions.length });
      for (const row of rows) {
        const index = (row['position'] as number) - 1;
        settled[index] = settledJob(row, notificationIds[index] as string);
      }
      return settled;
    },
  });

/**
 * Completes jobs that one worker holds. The caller needs neither the jobs nor the notifications afterwards.
 *
 * @returns for each job whether it was completed. If not, its row is locked, or the completion must be refused
 */
export async function completeJobsOfWorker(
  db: SqlRunner,
  workerId: string | null,
  completions: readonly Completion[],
): Promise<boolean[]> {
  const [jobIds, runNumbers] = handleColumns(completions.map(({ handle }) => handle));
  const results = completions.map(({ result }) => result);
  const notificationIds = completions.map(() => uuidV7());
  const [urls, counts, outputs] = resultColumns(results);
  // `pg` would put quotes around each value. Ids and numbers do not need them.
  const plain = [jobIds, runNumbers, counts, notificationIds].map(
    (column) => `{${column!.join()}}`,
  );
  const values = [plain[0], plain[1], urls, plain[2], plain[3], outputs, workerId];
  const [row] = await db.run<{ count: number; positions: number[] | null }>(
    'completeJob',
    statements.completeJobsOfWorker,
    values,
  );
  const { count = 0, positions = null } = row ?? {};
  announce(db.dataSource, 'notifications', count, undefined);
  const isAll = count === completions.length;
  const completed = new Set(positions);
  const isDone = completions.map((_, index) => isAll || completed.has(index + 1));
  announceMoved(db.dataSource, undefined, () =>
    completions.filter((_, index) => isDone[index]).map(({ handle }) => handle),
  );
  return isDone;
}

const resultColumns = (results: readonly JobResult[]) =>
  [
    results.map(({ resultUrl }) => resultUrl),
    results.map(({ frameCount }) => frameCount),
    sparseColumn(results.map(({ output }) => json(output))),
  ] as const;

/** Reads a settled job and its notification from a row of the statement. */
function settledJob(row: Row, notificationId: string): SettledJob {
  const job = toJob(row);
  const recipientEmail = row['recipientEmail'] as string;
  const isFinal = job.status !== JobStatus.PENDING;
  return {
    job,
    notification: isFinal ? newNotification(notificationId, job, recipientEmail) : null,
  };
}

/** Reads the job that a statement moved by its id. @throws JobRefusal, which says why it was not moved */
export function movedJob(jobId: string, move: string, row: Row | undefined): VideoJob {
  if (row === undefined) throw new JobNotFoundError(jobId);
  if (row['job.jobId'] === null) throw refusal(jobId, move, row);
  return toJob(row, 'job.');
}

/** The error for a refused move. It comes from the state of the locked row. */
function refusal(
  jobId: string,
  move: string,
  row: Row,
): LeaseLostError | InvalidJobTransitionError {
  const status = row['statusBefore'] as JobStatus;
  const runNumber = row['runNumberBefore'] as number;
  return row['isLost'] === true
    ? new LeaseLostError({ jobId, status, runNumber, isCancelled: row['isCancelled'] === true })
    : new InvalidJobTransitionError(jobId, move, status, runNumber, row['workerIdBefore'] !== null);
}
