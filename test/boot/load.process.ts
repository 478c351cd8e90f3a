// A service under load. It creates, claims and completes jobs, and remembers all acknowledged calls.
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  DatabaseUnavailableError,
  FrameForgeDatabaseModule,
  JobService,
  LeaseLostError,
} from '../../src/index.js';

/** The results so far. */
export interface Seen {
  readonly created: string[];
  readonly completed: string[];
  /** Calls that failed because the database was away. */
  readonly unavailable: number;
  /** Errors that have another reason than that the database was away. */
  readonly unexpected: string[];
}

const LOOPS = 4;
const userId = process.argv[2] ?? '';
const seen = { created: [], completed: [], unavailable: 0, unexpected: [] } as {
  -readonly [K in keyof Seen]: Seen[K];
};

@Module({ imports: [FrameForgeDatabaseModule.forRoot({ poolSize: LOOPS })] })
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
const jobs = app.get(JobService);
const stop = new AbortController();

/** Repeats a call until the database has answered it. */
async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof DatabaseUnavailableError)) throw error;
      seen.unavailable++;
      await sleep(5);
    }
  }
}

async function load(): Promise<void> {
  while (!stop.signal.aborted) {
    try {
      const jobId = randomUUID();
      const input = { jobId, userId, filename: 'a.mp4', videoUrl: 's3://b/a' };
      // The call is repeated with the same jobId. The next reply tells whether the first call had succeeded.
      seen.created.push((await insist(() => jobs.createJob(input))).jobId);
      for (const job of await insist(() => jobs.claimJobs({ limit: 1 }))) {
        await complete(job);
      }
    } catch (error) {
      seen.unexpected.push(String(error));
    }
  }
}

async function complete(job: Parameters<JobService['completeJob']>[0]): Promise<void> {
  const result = { resultUrl: 's3://b/r', frameCount: 1 };
  try {
    await insist(() => jobs.completeJob(job, result));
  } catch (error) {
    // The call whose reply was lost had succeeded.
    if (!(error instanceof LeaseLostError && error.status === 'completed')) throw error;
  }
  seen.completed.push(job.jobId);
}

const loops = Array.from({ length: LOOPS }, () => load());
process.on('message', (message) => {
  if (message === 'seen') return void process.send?.(seen);
  stop.abort();
  void Promise.all(loops)
    .then(() => app.close())
    .then(() => process.send?.(seen, () => process.disconnect()));
});
process.send?.('ready');
