// A service with a worker, as a process of its own. The filename of a job tells the worker what to do, as "what:how"
// (see PROCESSES). It reports events to its parent, and ends with its parent.
import { Injectable, Module } from '@nestjs/common';
import type { LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { setTimeout as sleep } from 'node:timers/promises';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { JobService } from '../../src/jobs/job.service.js';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import {
  FrameForgeWorker,
  FrameForgeWorkerModule,
  NotificationDeliverer,
  UnrecoverableJobError,
  VideoJobProcessor,
} from '../../src/worker/index.js';
import type {
  JobOutcome,
  NotificationHandler,
  VideoJobHandler,
  WorkContext,
} from '../../src/worker/index.js';
import type { WorkerConfig, WorkerEvent, WorkerRequest } from './worker.process.js';

const config = JSON.parse(process.env['WORKER_FIXTURE'] ?? '{}') as WorkerConfig;

type Told = WorkerEvent extends infer E ? (E extends WorkerEvent ? Omit<E, 'at'> : never) : never;
const tell = (event: Told): void => {
  process.send?.({ ...event, at: Date.now() });
};

process.on('disconnect', () => process.exit());

const RESULT = { resultUrl: 's3://frames/1.zip', frameCount: 3 };
const never = (): Promise<never> => new Promise(() => {});
const blockEventLoop = (ms: number): void => {
  for (const end = performance.now() + ms; performance.now() < end;);
};

/** Own writes of the application, into `CREATE TABLE own_writes ("jobId" uuid, "runNumber" integer)`. */
const ownWrite =
  (job: VideoJob, ms: number): JobOutcome =>
  async (manager) => {
    const write = 'INSERT INTO own_writes ("jobId", "runNumber") VALUES ($1, $2)';
    await manager.query(write, [job.jobId, job.runNumber]);
    await sleep(ms);
    return RESULT;
  };

const PROCESSES: Record<
  string,
  (job: VideoJob, how: number, context: WorkContext) => Promise<JobOutcome>
> = {
  /** Takes that many ms, and ignores the signal. */
  sleep: async (_job, ms) => sleep(ms, RESULT),
  /** Takes until the signal is aborted. */
  wait: (_job, _how, { signal }) => sleep(2 ** 31 - 1, RESULT, { signal }),
  deaf: never,
  /** Hangs in the first tries, that many times. */
  stuck: (_job, tries, { attempt, signal }) =>
    attempt > tries ? Promise.resolve(RESULT) : sleep(2 ** 31 - 1, RESULT, { signal }),
  /** Takes until that many ms after SIGTERM. */
  stopping: (_job, ms) =>
    new Promise((resolve) => {
      process.once('SIGTERM', () => setTimeout(resolve, ms, RESULT));
    }),
  fail: () => Promise.reject(new Error('it does not work')),
  /** Fails that many times, and then succeeds. */
  flaky: (_job, times, { attempt }) =>
    attempt > times ? Promise.resolve(RESULT) : Promise.reject(new Error(`broken ${attempt}`)),
  unrecoverable: () => Promise.reject(new UnrecoverableJobError('no video stream')),
  kill: () => {
    process.kill(process.pid, 'SIGKILL');
    return never();
  },
  exit: (_job, code) => process.exit(code),
  block: async (_job, ms) => {
    blockEventLoop(ms);
    return RESULT;
  },
  /** Has a transaction of its own that takes that many ms. */
  write: async (job, ms) => ownWrite(job, ms),
};

@Injectable()
@VideoJobProcessor({ concurrency: config.concurrency ?? 4 })
class Extractor implements VideoJobHandler {
  async process(job: VideoJob, context: WorkContext): Promise<JobOutcome> {
    const { jobId, runNumber } = job;
    tell({ type: 'started', jobId, runNumber });
    context.signal.addEventListener('abort', () => {
      const reason = (context.signal.reason as Error).message;
      tell({ type: 'aborted', jobId, runNumber, reason });
    });
    const [what = '', how = '0'] = job.filename.split(':');
    const process = PROCESSES[what];
    if (process === undefined) throw new UnrecoverableJobError(`What is ${job.filename}?`);
    const outcome = await process(job, Number(how), context);
    tell({ type: 'ended', jobId, runNumber });
    return outcome;
  }
}

/** Sends to an HTTP server, which records the idempotency keys that it gets. */
@Injectable()
@NotificationDeliverer({ concurrency: config.deliverers ?? 2 })
class Mailer implements NotificationHandler {
  async deliver({ notificationId }: NotificationLog, { signal, attempt }: WorkContext) {
    tell({ type: 'delivering', notificationId, attempt });
    if (config.provider === undefined) return;
    const headers = { 'idempotency-key': notificationId };
    const response = await fetch(config.provider, { method: 'POST', headers, signal });
    if (!response.ok) throw new Error(`The provider answers ${response.status}.`);
  }
}

@Module({
  imports: [
    FrameForgeDatabaseModule.forRoot({ url: config.url, ...config.database }),
    FrameForgeWorkerModule.forRoot(config.worker),
  ],
  providers: [...(config.processes === false ? [] : [Extractor]), Mailer],
})
class Service {}

const log =
  (level: string) =>
  (message: unknown): void =>
    tell({ type: 'log', level, text: String(message) });

const logger: LoggerService = { log: log('log'), warn: log('warn'), error: log('error') };

const app = await NestFactory.createApplicationContext(Service, { logger });
app.enableShutdownHooks();
process.on('message', (request: WorkerRequest) => {
  if (request.type === 'create') void app.get(JobService).createJobs(request.jobs);
  if (request.type === 'cancel') void app.get(JobService).cancelJob(request.jobId);
  if (request.type === 'block') blockEventLoop(request.ms);
  if (request.type === 'stats') tell({ type: 'stats', stats: app.get(FrameForgeWorker).stats() });
});
process.on('exit', () => tell({ type: 'exit' }));
tell({ type: 'ready', workerId: app.get(JobService).workerId });
