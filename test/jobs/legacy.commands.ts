import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import { count, MAX_JOBS, pick, which } from './queue.commands.js';
import { newJob, tells } from './job.model.js';
import type { ModelJob } from './job.model.js';
import { Step } from './job.world.js';
import type { Model, Real } from './job.world.js';

// A service that knows only the first three migrations. It names no column of later migrations, and writes its
// notifications by itself.

const NOW = `date_trunc('milliseconds', statement_timestamp())`;

async function insertJob(m: Model, r: Real): Promise<void> {
  if (m.jobs.length >= MAX_JOBS) return;
  const jobId = randomUUID();
  await r.dataSource.query(
    `INSERT INTO video_jobs ("jobId", "userId", filename, "videoUrl", "createdAt")
     VALUES ($1, $2, 'cat.mp4', 's3://videos/cat.mp4', ${NOW})`,
    [jobId, r.user.userId],
  );
  m.jobs.push(newJob(jobId, true));
}

async function startJob(job: ModelJob, r: Real): Promise<void> {
  if (job.status !== 'pending') return;
  await r.dataSource.query(
    `UPDATE video_jobs SET status = 'processing', "startedAt" = ${NOW}
     WHERE "jobId" = $1 AND status = 'pending'`,
    [job.jobId],
  );
  job.status = 'processing';
  // The service does not know run numbers, so its run has the number that the job already has.
  job.handles.unshift({ jobId: job.jobId, runNumber: job.run, workerId: null });
  count(r, 'legacy start');
}

async function finishJob(
  m: Model,
  job: ModelJob,
  r: Real,
  { status, notifies }: { status: 'completed' | 'failed'; notifies: boolean },
): Promise<void> {
  if (job.status !== 'processing') return;
  // This includes jobs that another worker holds: some services fail every job that has been processing for too long.
  if (job.worker !== null && status === 'completed') return;
  const errorMessage = status === 'failed' ? 'timed out' : null;
  await r.dataSource.query(
    `UPDATE video_jobs SET status = $2, "completedAt" = ${NOW}, "errorMessage" = $3
     WHERE "jobId" = $1 AND status = 'processing'`,
    [job.jobId, status, errorMessage],
  );
  count(r, `legacy finish: ${job.worker === null ? 'its own' : "another's"}`);
  // It does not know the worker and the progress. The database sets them.
  Object.assign(job, { status, errorMessage, worker: null });
  if (status === 'completed') job.progress = 100;
  if (!notifies) return;
  await r.dataSource.query(
    `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail")
     VALUES ($1, $2, $3)`,
    [job.jobId, tells(status), m.email],
  );
  job.reports.push({ told: tells(status), run: null, email: m.email });
}

async function retryJob(job: ModelJob, r: Real): Promise<void> {
  if (job.status !== 'failed') return;
  await r.dataSource.query(
    `UPDATE video_jobs
     SET status = 'pending', "startedAt" = NULL, "completedAt" = NULL, "errorMessage" = NULL
     WHERE "jobId" = $1 AND status = 'failed'`,
    [job.jobId],
  );
  // It does not know the attempts, the progress, and the time when the job is due. The database sets them.
  const fresh = { attempts: 0, cancelled: false, due: true, progress: 0, progressMessage: null };
  Object.assign(job, { status: 'pending', errorMessage: null, ...fresh });
  count(r, 'legacy retry');
}

const insert = fc
  .constant({})
  .map((args) => new Step('legacy insert', args, (m: Model, r: Real) => insertJob(m, r), false));

const start = fc
  .record({ job: which })
  .map(
    (args) =>
      new Step('legacy start', args, (m: Model, r: Real, { job }) => startJob(pick(m, job), r)),
  );

const ending = {
  status: fc.constantFrom('completed' as const, 'failed' as const),
  notifies: fc.boolean(),
};

const finish = fc
  .record({ job: which, ...ending })
  .map(
    (args) =>
      new Step('legacy finish', args, (m: Model, r: Real, { job, ...how }) =>
        finishJob(m, pick(m, job), r, how),
      ),
  );

const retry = fc
  .record({ job: which })
  .map(
    (args) =>
      new Step('legacy retry', args, (m: Model, r: Real, { job }) => retryJob(pick(m, job), r)),
  );

/** Retries a failed job by hand and works on it, as far as it gets. */
const takeOver = fc.record({ job: which, finishes: fc.boolean(), ...ending }).map(
  (args) =>
    new Step(
      'legacy takes over',
      args,
      async (m: Model, r: Real, { job: index, finishes, ...how }) => {
        const job = pick(m, index);
        await retryJob(job, r);
        await startJob(job, r);
        if (finishes && job.worker === null) await finishJob(m, job, r, how);
      },
    ),
);

export const legacyCommands = [insert, start, finish, retry, takeOver, takeOver];
