import { randomUUID } from 'node:crypto';
import type { EntityManager } from 'typeorm';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import { JobService } from '../jobs/job.service.js';
import type { JobStatus, VideoJob } from '../schema/entities/index.js';
import { fixture } from './fixture.js';
import type { Fixture } from './fixture.js';
import { servicesIn } from './rollback.js';
import { userFixture } from './user.fixture.js';

/** The values of a job that `videoJobFixture` makes. */
export interface VideoJobValues {
  /** Default `pending`. */
  status: JobStatus;
  /** An existing user; a new one if left out. */
  userId?: string;
  /** The key; made up if left out. */
  jobId?: string;
  /** The name of the file; made up by default. */
  filename: string;
  /** Where the video is; made up by default. */
  videoUrl: string;
  /** When the job is due, before its first attempt; now if left out. */
  availableAt?: Date;
  /** What the handler should do, in the application's own form; none if left out. */
  parameters?: object;
  /** How many attempts have failed already. Another try follows each of them. Default 0. */
  attempts: number;
  /** The error of the failed attempts. */
  errorMessage: string;
  /** The wait after the last failed attempt, in ms. Default 0. */
  retryInMs: number;
  /** How long the lease of a started job is, in ms; null for no lease. Default 30,000. */
  leaseMs: number | null;
  /** Who holds the lease; made up if left out. */
  workerId?: string;
  /** Where the frames of a completed job are. */
  resultUrl: string;
  /** How many frames a completed job has. */
  frameCount: number;
  /** Further results of a completed job; none if left out. */
  output?: object;
}

/**
 * Makes a job in any state of its life. `JobService` brings it into this state, as in production. A `processing` job
 * has a lease, and its row is the handle to finish it. A `completed` or `failed` job has its notification.
 */
export function videoJobFixture(
  given: Partial<VideoJobValues> = {},
): Fixture<VideoJobValues, VideoJob> {
  const id = randomUUID();
  const defaults: VideoJobValues = {
    status: 'pending',
    filename: `video-${id}.mp4`,
    videoUrl: `s3://videos/video-${id}.mp4`,
    attempts: 0,
    errorMessage: 'The video could not be decoded.',
    retryInMs: 0,
    leaseMs: 30_000,
    resultUrl: `s3://frames/video-${id}.zip`,
    frameCount: 100,
  };
  return fixture(defaults, given, write);
}

async function write(manager: EntityManager, values: VideoJobValues): Promise<VideoJob> {
  const { status, jobId, filename, videoUrl, availableAt, parameters } = values;
  const { errorMessage, resultUrl, frameCount, output } = values;
  const userId = values.userId ?? (await userFixture().persist(manager)).userId;
  const jobs = new JobService(dataSourceOf(manager), { preparedStatements: false });
  const job = await jobs.createJob(
    { jobId, userId, filename, videoUrl, availableAt, parameters },
    { manager },
  );
  const start = (): Promise<VideoJob> =>
    servicesIn(manager).jobs.startJob(job.jobId, leaseOf(values));
  let waiting = job;
  for (let left = values.attempts; left > 0; left -= 1) {
    const failure = { errorMessage, retryInMs: left > 1 ? 0 : values.retryInMs };
    waiting = (await jobs.failJob(await start(), failure, { manager })).job;
  }
  switch (status) {
    case 'pending':
      return waiting;
    case 'processing':
      return start();
    case 'completed':
      return (await jobs.completeJob(await start(), { resultUrl, frameCount, output }, { manager }))
        .job;
    case 'failed':
      return (await jobs.failJob(await start(), { errorMessage }, { manager })).job;
  }
}

const leaseOf = ({ leaseMs, workerId }: VideoJobValues): { leaseMs?: number; workerId?: string } =>
  leaseMs === null ? {} : { leaseMs, workerId };
