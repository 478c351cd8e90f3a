import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { NestFactory } from '@nestjs/core';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { JobService } from '../../src/jobs/job.service.js';
import type { CreateJobInput } from '../../src/jobs/job.inputs.js';
import { bootWorker, RESULT } from '../worker/app.js';
import { WorkerProcess } from '../worker/worker.process.js';

const JOBS = 100;
/** Starts that are not counted, because connections open and code is compiled in them. */
const WARM_UP = 10;
/** The wait until the worker is idle again, in ms, because the wake-up of an idle worker is measured. */
const REST_MS = 30;
/** The polls are further apart than the measurement is long. So each job that starts was started by a wake-up. */
const NO_POLLS = { pollMs: 2 ** 30 };

/** How long, in ms, it took from calls of `createJob` until a handler of an idle worker began. */
export interface Starts {
  readonly sameProcess: number[];
  /** By `NOTIFY`. */
  readonly otherProcess: number[];
}

export async function measureStarts(url: string, input: CreateJobInput): Promise<Starts> {
  return { sameProcess: await here(url, input), otherProcess: await elsewhere(url, input) };
}

async function here(url: string, input: CreateJobInput): Promise<number[]> {
  const starts = new EventEmitter();
  const process = async () => {
    starts.emit('start', Date.now());
    return RESULT;
  };
  const app = await bootWorker(url, { process }, NO_POLLS);
  try {
    const jobs = app.get(JobService);
    return await measure(async () => {
      const started = once(starts, 'start');
      await jobs.createJob(input);
      return Number(await started);
    });
  } finally {
    await app.close();
  }
}

async function elsewhere(url: string, input: CreateJobInput): Promise<number[]> {
  const worker = new WorkerProcess({ url, worker: { ...NO_POLLS, listen: true } });
  const database = FrameForgeDatabaseModule.forRoot({ url, notifyWorkers: true });
  const app = await NestFactory.createApplicationContext(database, { logger: false });
  try {
    await worker.next('ready');
    const jobs = app.get(JobService);
    return await measure(async () => (await worker.started(await jobs.createJob(input))).at);
  } finally {
    await app.close();
    worker.kill('SIGTERM');
    await worker.exit;
  }
}

/** Measures starts. @param start - creates a job; resolves to the time when it was started */
async function measure(start: () => Promise<number>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < WARM_UP + JOBS; i += 1) {
    const from = Date.now();
    const at = await start();
    if (i >= WARM_UP) times.push(at - from);
    await sleep(REST_MS);
  }
  return times;
}
