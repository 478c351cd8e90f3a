import { isDeepStrictEqual } from 'node:util';
import { RequestBatcher } from '../sql/request.batcher.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { TransactionOptions } from '../sql/transaction.options.js';
import { JobConflictError, TransactionConflictError, UserNotFoundError } from '../errors.js';
import { JobStatus, VideoJob } from '../schema/entities/index.js';
import { announceCreated } from './job.changes.js';
import { announce } from './job.events.js';
import type { CreateJobInput } from './job.inputs.js';
import { json, sparseColumn, timestamp, toJob } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.creation.sql.js';
import { uuidV7 } from './uuid.js';

/** How often a creation is tried if it collides with simultaneous creations of the same ids. */
const TRIES = 5;

/** A job to create, under an id. */
interface Wanted {
  readonly jobId: string;
  readonly input: CreateJobInput;
}

interface Summary extends Row {
  readonly count: number;
  readonly now: Date;
  readonly created: string[] | null;
  readonly unknownUsers: [string, ...string[]] | null;
}

/**
 * Creates all jobs, or none. A job that exists with the same id and content is returned as it is.
 *
 * @throws UserNotFoundError, JobConflictError; nothing was created
 */
export async function createJobs(
  db: SqlRunner,
  operation: string,
  inputs: readonly CreateJobInput[],
  { manager }: TransactionOptions,
): Promise<VideoJob[]> {
  if (inputs.length === 0) return [];
  const all = inputs.map(wanted);
  const once = withoutRepeats(all);
  const columns = columnsOf(once);
  const userIds = [...new Set(once.map(({ input }) => input.userId.toLowerCase()))];
  // The jobs that earlier tries of this call have created, in the caller's transaction.
  const own = new Set<string>();
  // With several jobs, one may turn out to conflict after others were created. These must be undone: by an
  // error of the statement, or by hand in a caller's transaction, because an error would abort it.
  const undoes = manager === undefined && once.length > 1;
  const statement = undoes ? statements.createJobsOrRaise : statements.createJobs;
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const isGiven = once.map(
      ({ input, jobId }) => input.jobId !== undefined || own.has(jobId) || null,
    );
    const values = [...columns, sparseColumn(isGiven), userIds];
    const rows = await db
      .run<Summary>(operation, statement, values, { manager })
      .catch((error: unknown) => {
        if (tries === TRIES || !isCollision(error)) throw error;
      });
    // It collided with a job that was inserted meanwhile. The next try finds that job.
    if (rows === undefined) continue;
    const existing = new Map(
      rows.filter((row) => row['jobId'] !== null).map((row) => [row['jobId'] as string, row]),
    );
    const [{ count, now, created, unknownUsers }] = rows as [Summary];
    const refusal = refusalOf(once, existing, unknownUsers);
    if (refusal !== undefined) {
      if (own.size > 0) await db.run(operation, statements.removeJobs, [[...own]], { manager });
      throw refusal;
    }
    if (count + existing.size === once.length) {
      announce(db.dataSource, 'jobs', count + own.size, manager);
      const jobs = all.map((job) => {
        const row = existing.get(job.jobId);
        return row === undefined ? newJob(job, now) : toJob(row);
      });
      announceCreated(db.dataSource, manager, () => jobs);
      return jobs;
    }
    for (const jobId of created ?? []) own.add(jobId);
  }
  throw new TransactionConflictError(operation);
}

/** Creates one job, or finds the job that an earlier or simultaneous call has created. */
export async function createJob(
  db: SqlRunner,
  input: CreateJobInput,
  tx: TransactionOptions,
): Promise<VideoJob> {
  const [job] = await createJobs(db, 'createJob', [input], tx);
  return job as VideoJob;
}

/**
 * Creates the jobs of independent calls that come at the same time, in one statement. The callers gave no
 * ids. A user whose row is locked delays only the calls for that user.
 */
export const creatingTogether = (db: SqlRunner): RequestBatcher<CreateJobInput, VideoJob> =>
  new RequestBatcher({
    operation: 'createJob',
    alone: (input) => createJob(db, input, {}),
    together: async (inputs) => {
      const jobs = inputs.map(wanted);
      const values = columnsOf(jobs);
      const [row] = await db.run<Summary>('createJob', statements.createJobsTogether, values);
      const { count, now, created } = row as Summary;
      announce(db.dataSource, 'jobs', count, undefined);
      const isAll = count === jobs.length;
      const ids = new Set(created);
      const made = jobs.map((job) => (isAll || ids.has(job.jobId) ? newJob(job, now) : undefined));
      announceCreated(db.dataSource, undefined, () => made.filter((job) => job !== undefined));
      return made;
    },
  });

const wanted = (input: CreateJobInput): Wanted => ({
  input,
  jobId: input.jobId?.toLowerCase() ?? uuidV7(),
});

/** Returns each id once. @throws JobConflictError if an id is there twice with different contents */
function withoutRepeats(jobs: readonly Wanted[]): readonly Wanted[] {
  if (jobs.every(({ input }) => input.jobId === undefined)) return jobs;
  const byId = new Map<string, Wanted>();
  for (const job of jobs) {
    const first = byId.get(job.jobId);
    if (first === undefined) byId.set(job.jobId, job);
    else if (!isSame(first.input, job.input)) throw new JobConflictError(job.jobId);
  }
  return [...byId.values()];
}

const isSame = (a: CreateJobInput, b: CreateJobInput): boolean =>
  a.userId.toLowerCase() === b.userId.toLowerCase() &&
  a.filename === b.filename &&
  a.videoUrl === b.videoUrl &&
  isDeepStrictEqual(a.parameters ?? null, b.parameters ?? null);

/** The reason why none of the jobs may be created; undefined if there is none. */
function refusalOf(
  jobs: readonly Wanted[],
  existing: ReadonlyMap<string, Row>,
  unknownUsers: [string, ...string[]] | null,
): JobConflictError | UserNotFoundError | undefined {
  const conflict = jobs.find(({ jobId }) => existing.get(jobId)?.['differs'] === true);
  if (conflict !== undefined) return new JobConflictError(conflict.jobId);
  return unknownUsers === null ? undefined : new UserNotFoundError(unknownUsers);
}

/** Whether another call has inserted a job of the same id since the statement began. */
const isCollision = (error: unknown): boolean => (error as { code?: unknown }).code === '23505';

/** The parameters of the statements: arrays with an entry for each job. */
const columnsOf = (jobs: readonly Wanted[]): unknown[] => [
  jobs.map(({ jobId }) => jobId),
  jobs.map(({ input }) => input.userId),
  jobs.map(({ input }) => input.filename),
  jobs.map(({ input }) => input.videoUrl),
  sparseColumn(jobs.map(({ input }) => timestamp(input.availableAt))),
  sparseColumn(jobs.map(({ input }) => json(input.parameters))),
];

/** Makes the row of a new job from the input and the defaults, without reading it from the database. */
function newJob({ jobId, input }: Wanted, createdAt: Date): VideoJob {
  const job = new VideoJob();
  job.jobId = jobId;
  job.userId = input.userId.toLowerCase();
  job.filename = input.filename;
  job.status = JobStatus.PENDING;
  job.videoUrl = input.videoUrl;
  job.resultUrl = null;
  job.frameCount = null;
  job.errorMessage = null;
  job.createdAt = new Date(createdAt);
  job.startedAt = null;
  job.completedAt = null;
  job.availableAt = new Date(Math.max(input.availableAt?.getTime() ?? 0, createdAt.getTime()));
  job.runNumber = 0;
  job.workerId = null;
  job.attempts = 0;
  job.progress = null;
  job.progressMessage = null;
  job.cancelledAt = null;
  // The input is a copy that nobody else has.
  job.parameters = (input.parameters ?? null) as VideoJob['parameters'];
  job.output = null;
  return job;
}
