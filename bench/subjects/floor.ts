import { setTimeout as sleep } from 'node:timers/promises';
import { claimPending } from '../../build/jobs/job.claiming.sql.js';
import { createJobs, createJobsTogether } from '../../build/jobs/job.creation.sql.js';
import { completeJobsOfWorker, settleJobs } from '../../build/jobs/job.settlement.sql.js';
import { uuidV7 } from '../../build/jobs/uuid.js';
import type { Tables } from '../../build/schema/tables.js';
import { withClient } from '../harness/server.ts';
import type { Bench } from '../harness/scenario.ts';
import { openConnections } from './connections.ts';
import type { Run } from './connections.ts';
import { RESULT } from './fixtures.ts';
import type { Video } from './fixtures.ts';
import { createMigratedDatabase } from './frameforge.ts';

export const HOW =
  '`pg` alone: the same SQL as this package runs, as prepared statements, on connections of its own without a pool; it looks at the verdicts, as this package does';

const LEASE_MS = 30_000;
const MAX_ATTEMPTS = 5;

const tables: Tables = {
  users: '"users"',
  videoJobs: '"video_jobs"',
  notificationLog: '"notification_log"',
  jobAttemptErrors: '"job_attempt_errors"',
  processingState: '"processing_state"',
  workerReports: '"worker_reports"',
};

/** The statements that this package runs. */
const sql = {
  createJobs: createJobs(tables),
  createJobsTogether: createJobsTogether(tables),
  claimPending: claimPending(tables),
  settleJobs: settleJobs(tables),
  completeJobsOfWorker: completeJobsOfWorker(tables),
};

type Row = Record<string, unknown>;

/** The work that only the driver and the database do, without this package. */
export interface Floor {
  readonly url: string;
  readonly users: string[];
  createJob(connection: number, video: Video): Promise<void>;
  createJobs(connection: number, videos: readonly Video[]): Promise<void>;
  claimJobs(connection: number, limit: number): Promise<Row[]>;
  completeJob(connection: number, job: Row): Promise<void>;
  completeJobs(connection: number, jobs: readonly Row[]): Promise<void>;
}

/** Indexes of the first migrations. Every change of the status of a job is written to them. */
const COMMISSIONED_INDEXES =
  'idx_jobs_user_id, idx_jobs_status, idx_jobs_created_at, idx_jobs_user_status, ' +
  'idx_notifications_job_id, idx_notifications_status';

export const BARE_HOW =
  'the floor on tables without the six indexes and the foreign keys of the first migrations, which this package has to keep: it shows what they cost';

export async function openFloor(bench: Bench): Promise<Floor> {
  const { url, users } = await createMigratedDatabase(bench);
  return { url, users, ...callsOn(await openConnections(bench, url)) };
}

/** The floor on tables without the indexes and foreign keys of the first migrations. */
export async function openBareFloor(bench: Bench): Promise<Floor> {
  const floor = await openFloor(bench);
  await makeBare(floor.url);
  return floor;
}

/** Removes the indexes and foreign keys of the first migrations from a database. */
export const makeBare = (url: string): Promise<void> =>
  withClient(url, async (client) => {
    await client.query(`DROP INDEX ${COMMISSIONED_INDEXES}`);
    await client.query('ALTER TABLE video_jobs DROP CONSTRAINT fk_video_jobs_user');
    await client.query('ALTER TABLE notification_log DROP CONSTRAINT fk_notification_log_job');
  });

const callsOn = (run: Run): Omit<Floor, 'url' | 'users'> => ({
  createJob: async (connection, { userId, filename, videoUrl }) => {
    const values = [[uuidV7()], [userId], [filename], [videoUrl], null, null];
    const { rows } = await run(connection, sql.createJobsTogether, values);
    expect(rows[0]?.['count'], 1);
  },
  createJobs: async (connection, videos) => {
    const { rows } = await run(connection, sql.createJobs, [
      videos.map(() => uuidV7()),
      videos.map(({ userId }) => userId),
      videos.map(({ filename }) => filename),
      videos.map(({ videoUrl }) => videoUrl),
      null,
      null,
      null,
      [...new Set(videos.map(({ userId }) => userId))],
    ]);
    expect(rows[0]?.['count'], videos.length);
  },
  claimJobs: async (connection, limit) => {
    const workerId = `floor:${connection}`;
    const claim = [limit, LEASE_MS, workerId, MAX_ATTEMPTS, '-infinity', limit];
    const { rows } = await run(connection, sql.claimPending, claim);
    // The first row is about the claim itself.
    return rows.slice(1).map((row) => ({ ...row, workerId }));
  },
  completeJob: async (connection, { jobId, runNumber, workerId }) => {
    const { resultUrl, frameCount } = RESULT;
    const result = ['completed', resultUrl, frameCount, null, null, 0, 0, uuidV7(), null];
    const values = [jobId, runNumber, workerId, ...result].map((value) => [value]);
    const { rows } = await run(connection, sql.settleJobs, values);
    expect(rows.filter((row) => row['jobId'] !== null).length, 1);
  },
  completeJobs: (connection, jobs) => completeJobs(run, connection, jobs),
});

/** How often a floor tries rows again that it passed over, each time a millisecond later. A claim takes about ten. */
const TRIES = 1_000;

/**
 * Completes jobs that one connection holds. Those whose rows the claim of another one has locked for a moment
 * are passed over, and are completed by the next statement, as this package does it.
 */
async function completeJobs(run: Run, connection: number, jobs: readonly Row[]): Promise<void> {
  let left = jobs;
  for (let tries = 1; left.length > 0 && tries <= TRIES; tries += 1) {
    const { rows } = await run(connection, sql.completeJobsOfWorker, [
      left.map(({ jobId }) => jobId),
      left.map(({ runNumber }) => runNumber),
      left.map(() => RESULT.resultUrl),
      left.map(() => RESULT.frameCount),
      left.map(() => uuidV7()),
      null,
      left[0]?.['workerId'],
    ]);
    // `positions` is null if all jobs were completed, or none.
    const { count, positions } = rows[0] as { count: number; positions: number[] | null };
    const done = new Set(positions);
    left = count === left.length ? [] : left.filter((_, index) => !done.has(index + 1));
    if (left.length > 0) await sleep(1);
  }
  expect(jobs.length - left.length, jobs.length);
}

/** Checks the number of changed jobs, because a statement that changes nothing would look fast. */
function expect(changed: unknown, wanted: number): void {
  if (changed !== wanted) throw new Error(`The floor changed ${changed} jobs, not ${wanted}.`);
}
