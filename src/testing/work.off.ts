import { setTimeout as sleep } from 'node:timers/promises';
import type { INestApplicationContext, Type } from '@nestjs/common';
import { ConfigurationError } from '../errors.js';
import { JobService } from '../jobs/job.service.js';
import { JobStatus } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import { SqlRunner } from '../sql/sql.runner.js';
import { FrameForgeWorker } from '../worker/frameforge.worker.js';
import { openWork } from './work.off.sql.js';

/** The default wait, in ms: less than the time limit of a test in Jest and Vitest. */
const DEFAULT_TIMEOUT_MS = 4_000;

const LOOK_MS = 10;

/** How long a test waits. */
export interface WaitOptions {
  /** In ms. Default 4,000, which is less than the 5,000 that Jest and Vitest give a test. */
  readonly timeoutMs?: number;
}

interface OpenWork {
  readonly jobs: number;
  readonly deliveries: number;
  readonly isPaused: boolean;
}

/**
 * Waits until the worker of an application has run everything that is due: jobs, further jobs that these
 * create, and the deliveries of their notifications. A job that waits for its next try, or is scheduled for later,
 * is not due. Jobs count if the application has a `@VideoJobProcessor`, and deliveries if it has a
 * `@NotificationDeliverer`.
 *
 * @param app - an application with `FrameForgeWorkerModule`
 * @throws ConfigurationError if it has no worker
 * @throws Error when the time is over; its message says how many jobs and deliveries are left
 */
export async function workOff(
  app: INestApplicationContext,
  { timeoutMs = DEFAULT_TIMEOUT_MS }: WaitOptions = {},
): Promise<void> {
  const worker = find(app, FrameForgeWorker, 'Import FrameForgeWorkerModule in it.');
  const db = new SqlRunner(find(app, JobService).dataSource, false);
  let left: OpenWork | undefined;
  await waitFor(
    timeoutMs,
    async () => {
      const { jobs, deliveries } = worker.works();
      if (jobs === undefined && !deliveries) return undefined;
      const [open] = await db.run<OpenWork>('workOff', openWork, [jobs ?? null]);
      left = {
        ...(open as OpenWork),
        ...(jobs === undefined ? { jobs: 0 } : {}),
        ...(deliveries ? {} : { deliveries: 0 }),
      };
      if (left.jobs + left.deliveries === 0) return true;
      worker.wake();
      return undefined;
    },
    () => {
      if (left === undefined) return 'the worker has not started: is its database away?';
      const paused = left.isPaused ? ' Processing is paused.' : '';
      return `${left.jobs} jobs and ${left.deliveries} deliveries are still due or at work.${paused}`;
    },
  );
}

/**
 * Waits until a job is completed or failed.
 *
 * @param app - an application with `FrameForgeDatabaseModule`; any process may run the job
 * @returns the job in its final state
 * @throws JobNotFoundError if the job does not exist
 * @throws Error when the time is over; its message has the job's state
 */
export async function waitForJob(
  app: INestApplicationContext,
  jobId: string,
  { timeoutMs = DEFAULT_TIMEOUT_MS }: WaitOptions = {},
): Promise<VideoJob> {
  const jobs = find(app, JobService);
  let job: VideoJob | undefined;
  return waitFor(
    timeoutMs,
    async () => {
      job = await jobs.getJob(jobId);
      const { status } = job;
      return status === JobStatus.COMPLETED || status === JobStatus.FAILED ? job : undefined;
    },
    () => {
      const { status, attempts, errorMessage } = job as VideoJob;
      const said = errorMessage === null ? '' : `; its latest error is: ${errorMessage}`;
      return `job ${jobId} is ${status} (attempt ${attempts})${said}`;
    },
  );
}

/** Checks again and again. @param left - returns what is left, for the message when the time is over */
async function waitFor<T>(
  timeoutMs: number,
  look: () => Promise<T | undefined>,
  left: () => string,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() >= end) throw new Error(`After ${timeoutMs} ms, ${left()}`);
    await sleep(LOOK_MS);
  }
}

function find<T>(app: INestApplicationContext, type: Type<T>, remedy = ''): T {
  try {
    return app.get(type, { strict: false });
  } catch (cause) {
    const message = `The application has no ${type.name}. ${remedy}`.trim();
    throw new ConfigurationError(message, { cause });
  }
}
