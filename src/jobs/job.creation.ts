import { RequestBatcher } from '../sql/request.batcher.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import type { TransactionOptions } from '../sql/transaction.options.js';
import { JobConflictError, TransactionConflictError, UserNotFoundError } from '../errors.js';
import { JobStatus, VideoJob } from '../schema/entities/index.js';
import { announce } from './job.events.js';
import type { CreateJobInput } from './job.inputs.js';
import { timestamp, toJob } from './job.row.js';
import type { Row } from './job.row.js';
import * as statements from './job.creation.sql.js';
import { uuidV7 } from './uuid.js';

/** Inserts one job, or finds the one that an earlier or simultaneous call inserted. */
export async function createJob(
  db: SqlRunner,
  input: CreateJobInput,
  tx: TransactionOptions,
): Promise<VideoJob> {
  const operation = 'createJob';
  const jobId = input.jobId ?? uuidV7();
  const values = columnsOf([{ input, jobId }]).map(([value]) => value);
  // The job that stood in the way can be deleted before it is read: then it is created after all.
  for (let tries = 0; tries < 3; tries += 1) {
    const [created] = await db.run<Row>(operation, statements.createJob, values, tx);
    if (created !== undefined) {
      announce(db.dataSource, 'jobs', 1, tx.manager);
      return toJob(created);
    }
    if (input.jobId === undefined) throw new UserNotFoundError([input.userId]);
    const [existing] = await db.run<Row>(operation, statements.getJobs, [[jobId]], tx);
    if (existing !== undefined) return sameJob(toJob(existing), input);
    await refuseUnknownUsers(db, operation, [input.userId], tx);
  }
  throw new TransactionConflictError(operation);
}

/**
 * Jobs without given ids that are created at the same time by calls that have nothing to do with each
 * other. A user whose row is locked holds up the calls for that user alone.
 */
export const creatingTogether = (db: SqlRunner): RequestBatcher<CreateJobInput, VideoJob> =>
  new RequestBatcher({
    operation: 'createJob',
    alone: (input) => createJob(db, input, {}),
    together: async (inputs) => {
      const wanted = inputs.map((input) => ({ input, jobId: uuidV7() }));
      const values = columnsOf(wanted);
      const rows = await db.run<Row>('createJob', statements.createJobsTogether, values);
      announce(db.dataSource, 'jobs', rows.length, undefined);
      const byId = new Map(rows.map((row) => [row['jobId'], row]));
      return wanted.map(({ jobId }) => {
        const row = byId.get(jobId);
        return row && toJob(row);
      });
    },
  });

/** Inserts all jobs or none. */
export async function createJobs(
  db: SqlRunner,
  inputs: readonly CreateJobInput[],
  tx: TransactionOptions,
): Promise<VideoJob[]> {
  if (inputs.length === 0) return [];
  // Without given ids nothing can collide, so that one statement is the whole of it.
  const { jobs, inserted } = inputs.every(({ jobId }) => jobId === undefined)
    ? await insertNewJobs(db, inputs, tx)
    : await db.atomically('createJobs', tx, (manager) => insertJobs(db, inputs, { manager }));
  announce(db.dataSource, 'jobs', inserted, tx.manager);
  return jobs;
}

interface Inserted {
  readonly jobs: VideoJob[];
  /** How many of them were not there before. */
  readonly inserted: number;
}

async function insertNewJobs(
  db: SqlRunner,
  inputs: readonly CreateJobInput[],
  tx: TransactionOptions,
): Promise<Inserted> {
  const operation = 'createJobs';
  const wanted = inputs.map((input) => ({ input, jobId: uuidV7() }));
  const userIds = [...new Set(inputs.map(({ userId }) => userId.toLowerCase()))];
  const values = [userIds, ...columnsOf(wanted)];
  const [row] = await db.run<Row>(operation, statements.createNewJobs, values, tx);
  if (row?.['count'] !== inputs.length) {
    await refuseUnknownUsers(db, operation, userIds, tx);
    throw new TransactionConflictError(operation);
  }
  const createdAt = row['createdAt'] as Date;
  return { jobs: wanted.map((job) => newJob(job, createdAt)), inserted: inputs.length };
}

/** The row of a new job, which is known without reading it: what was given, and the defaults. */
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
  job.parameters = null;
  job.output = null;
  return job;
}

async function insertJobs(
  db: SqlRunner,
  inputs: readonly CreateJobInput[],
  tx: TransactionOptions,
): Promise<Inserted> {
  const operation = 'createJobs';
  const wanted = inputs.map((input) => ({
    input,
    jobId: input.jobId?.toLowerCase() ?? uuidV7(),
  }));
  const unique = new Map(wanted.map((one) => [one.jobId, one]));
  const jobs = [...unique.values()];
  const userIds = [...new Set(jobs.map(({ input }) => input.userId.toLowerCase()))];
  const values = [userIds, ...columnsOf(jobs)];
  const rows = await db.run<Row>(operation, statements.createJobs, values, tx);
  const stored = new Map<string, VideoJob>();
  const keep = (row: Row): unknown => stored.set(row['jobId'] as string, toJob(row));
  rows.forEach(keep);
  if (stored.size < unique.size) {
    const missing = [...unique.keys()].filter((jobId) => !stored.has(jobId));
    const existing = await db.run<Row>(operation, statements.getJobs, [missing], tx);
    existing.forEach(keep);
  }
  const created = [];
  for (const { jobId, input } of wanted) {
    const job = stored.get(jobId);
    if (job === undefined) {
      await refuseUnknownUsers(db, operation, userIds, tx);
      throw new TransactionConflictError(operation);
    }
    created.push(sameJob(job, input));
  }
  return { jobs: created, inserted: rows.length };
}

interface Wanted {
  readonly input: CreateJobInput;
  readonly jobId: string;
}

/** The statements' parameters, as arrays with an entry for each job. */
const columnsOf = (jobs: readonly Wanted[]): unknown[][] => [
  jobs.map(({ jobId }) => jobId),
  jobs.map(({ input }) => input.userId),
  jobs.map(({ input }) => input.filename),
  jobs.map(({ input }) => input.videoUrl),
  jobs.map(({ input }) => timestamp(input.availableAt)),
];

async function refuseUnknownUsers(
  db: SqlRunner,
  operation: string,
  userIds: readonly string[],
  tx: TransactionOptions,
): Promise<void> {
  const rows = await db.run<{ userId: string }>(operation, statements.unknownUsers, [userIds], tx);
  const [first, ...others] = rows.map(({ userId }) => userId);
  if (first !== undefined) throw new UserNotFoundError([first, ...others]);
}

/** The stored job, if its content is what the caller asked for. */
function sameJob(stored: VideoJob, input: CreateJobInput): VideoJob {
  const same =
    stored.userId === input.userId.toLowerCase() &&
    stored.filename === input.filename &&
    stored.videoUrl === input.videoUrl;
  if (!same) throw new JobConflictError(stored.jobId);
  return stored;
}
