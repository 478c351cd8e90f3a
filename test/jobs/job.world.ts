import assert from 'node:assert/strict';
import type { AsyncCommand } from 'fast-check';
import type { DataSource } from 'typeorm';
import { FrameForgeError } from '../../src/errors.js';
import type { JobHandle } from '../../src/jobs/job.inputs.js';
import type { User, VideoJob } from '../../src/schema/entities/index.js';
import type { Peer } from './fixtures.js';
import type { ModelJob, Report, Verdict } from './job.model.js';

/** The system under test: two workers, and one user. A sequence of commands is about the jobs of this user. */
export interface Real {
  readonly dataSource: DataSource;
  readonly workers: readonly { readonly peer: Peer; readonly workerId: string }[];
  readonly user: User;
  /** Counts the done and the refused calls of all sequences. */
  readonly seen: Map<string, number>;
}

/** The state of the model. */
export interface Model {
  email: string;
  jobs: ModelJob[];
  paused: boolean;
  /** Every run that a claim or a start has returned, as `jobId:run`. */
  issued: Set<string>;
  /** The rows as they were after the last command. */
  rows: Map<string, VideoJob>;
}

export const newModel = (email: string): Model => ({
  email,
  jobs: [],
  paused: false,
  issued: new Set(),
  rows: new Map(),
});

type Run<Args> = (model: Model, real: Real, args: Args) => Promise<Iterable<VideoJob> | void>;

/** A command. After it has run, the database must agree with the model. */
export class Step<Args extends object> implements AsyncCommand<Model, Real> {
  constructor(
    private readonly name: string,
    private readonly args: Args,
    private readonly action: Run<Args>,
    private readonly needsJob = true,
  ) {}

  check(model: Readonly<Model>): boolean {
    return !this.needsJob || model.jobs.length > 0;
  }

  async run(model: Model, real: Real): Promise<void> {
    const returned = (await this.action(model, real, this.args)) ?? [];
    await compare(model, real, returned);
  }

  toString(): string {
    return `${this.name}(${JSON.stringify(this.args)})`;
  }
}

/** Compares the result of a call with the verdict of the model. */
export async function expectVerdict<T>(
  { seen }: Real,
  name: string,
  verdict: Verdict,
  call: Promise<T>,
): Promise<T | undefined> {
  const outcome = await call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  const label = `${name}: ${verdict === 'done' ? 'done' : verdict.code}`;
  seen.set(label, (seen.get(label) ?? 0) + 1);
  if ('value' in outcome) {
    assert.equal('done', verdict, `${name} was done, and had to be refused`);
    return outcome.value;
  }
  assertRefusal(outcome.error, verdict);
  return undefined;
}

export function assertRefusal(error: unknown, verdict: Verdict): void {
  if (!(error instanceof FrameForgeError)) throw error;
  const { code, status, runNumber } = error as FrameForgeError & Record<string, unknown>;
  assert.deepEqual({ code, status, runNumber }, verdict);
}

/** Checks that a run that a claim or a start returned was never returned before. */
export function issue(model: Model, job: VideoJob): void {
  const token = `${job.jobId}:${job.runNumber}`;
  assert(!model.issued.has(token), `run ${token} was issued twice`);
  model.issued.add(token);
}

export const handleOf = ({ jobId, runNumber, workerId }: VideoJob): JobHandle => ({
  jobId,
  runNumber,
  workerId,
});

interface Row extends VideoJob {
  due: boolean;
  reports: Report[] | null;
  errors: number[];
}

async function compare(model: Model, real: Real, returned: Iterable<VideoJob>): Promise<void> {
  const rows: Row[] = await real.dataSource.query(
    `SELECT j.*, j."availableAt" <= statement_timestamp() AS due,
       (SELECT json_agg(json_build_object('told', n."notificationType", 'run', n."runNumber",
         'email', n."recipientEmail")) FROM notification_log n WHERE n."jobId" = j."jobId") AS reports,
       ARRAY(SELECT e."runNumber" FROM job_attempt_errors e WHERE e."jobId" = j."jobId") AS errors
     FROM video_jobs j
     WHERE j."userId" = $1`,
    [real.user.userId],
  );
  const before = model.rows;
  model.rows = new Map(rows.map((row) => [row.jobId, row]));
  assert.deepEqual(sorted(rows.map(ofRow)), sorted(model.jobs.map(ofModel)));
  for (const row of rows) checkTimes(row, before.get(row.jobId));
  for (const job of returned) {
    const { due, reports, errors, ...row } = model.rows.get(job.jobId) as Row;
    assert.deepEqual({ ...job }, row, 'a method returned another state than it wrote');
  }
}

const sorted = <T extends { jobId: string }>(jobs: T[]): T[] =>
  jobs.toSorted((a, b) => (a.jobId < b.jobId ? -1 : 1));

const inOrder = (reports: readonly Report[]): string[] =>
  reports.map(({ told, run, email }) => `${told} of run ${run} to ${email}`).toSorted();

const ofRow = (row: Row) => ({
  jobId: row.jobId,
  status: row.status as string,
  run: row.runNumber,
  worker: row.workerId,
  attempts: row.attempts,
  due: row.due,
  resultUrl: row.resultUrl,
  frameCount: row.frameCount,
  errorMessage: row.errorMessage,
  cancelled: row.cancelledAt !== null,
  progress: row.progress,
  progressMessage: row.progressMessage,
  reports: inOrder(row.reports ?? []),
  errors: row.errors.toSorted((a, b) => a - b),
});

const ofModel = ({ handles, errors, reports, ...job }: ModelJob) => ({
  ...job,
  reports: inOrder(reports),
  errors: [...errors].toSorted((a, b) => a - b),
});

/** Checks the rules for times and run numbers, which do not depend on the model. */
function checkTimes(row: VideoJob, before: VideoJob | undefined): void {
  const { status, startedAt, completedAt, createdAt } = row;
  assert(row.runNumber >= (before?.runNumber ?? 0), 'a run number shrank');
  // A waiting job that has no try left fails without a start.
  if (status !== 'failed') assert.equal(startedAt === null, status === 'pending');
  assert.equal(completedAt !== null, status === 'completed' || status === 'failed');
  if (startedAt !== null) assert(startedAt >= createdAt, 'started before it was created');
  if (completedAt !== null && startedAt !== null) assert(completedAt >= startedAt);
}
