import { Injectable, Module } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { EntityManager } from 'typeorm';
import { RunTimeoutError } from '../../src/errors.js';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import {
  FrameForgeWorker,
  FrameForgeWorkerModule,
  UnrecoverableJobError,
  VideoJobProcessor,
} from '../../src/worker/index.js';
import type {
  FrameForgeWorkerOptions,
  JobOutcome,
  VideoJobHandler,
  WorkContext,
} from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { RESULT } from './app.js';
import { World } from './world.js';

let world: World;
let app: INestApplicationContext | undefined;
beforeAll(async () => {
  world = await World.open();
});
afterEach(async () => {
  await app?.close();
  app = undefined;
  await world.clear();
  await world.harness.dataSource.query('DELETE FROM own_writes');
});
afterAll(() => world.close());

type Process = (job: VideoJob, context: WorkContext) => Promise<JobOutcome>;

async function boot(
  process: Process,
  limits: { concurrency?: number; maxRunMs?: number },
  options: FrameForgeWorkerOptions = {},
): Promise<INestApplicationContext> {
  @Injectable()
  @VideoJobProcessor(limits)
  class Extractor implements VideoJobHandler {
    process(job: VideoJob, context: WorkContext): Promise<JobOutcome> {
      return process(job, context);
    }
  }
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url: world.harness.url, poolSize: 4 }),
      FrameForgeWorkerModule.forRoot({
        pollMs: 20,
        maxAttempts: 1,
        backoff: { baseMs: 0, maxMs: 0 },
        ...options,
      }),
    ],
    providers: [Extractor],
  })
  class App {}
  app = await NestFactory.createApplicationContext(App, { logger: false });
  return app;
}

const limitOf = (job: VideoJob): string =>
  `Run 1 of job ${job.jobId} took longer than its limit of 150 ms, and was ended. ` +
  `Raise \`maxRunMs\` of @VideoJobProcessor if such work needs longer.`;

/** Waits for the signal. @returns why it was aborted */
const aborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)));

const untilStats = (check: (stats: ReturnType<FrameForgeWorker['stats']>) => boolean) =>
  until(() => check(app!.get(FrameForgeWorker).stats()));

it('a run that takes too long fails, whatever its handler returns after the abort', async () => {
  const reasons: unknown[] = [];
  await boot(
    async ({ filename }, { signal }) => {
      const reason = await aborted(signal);
      reasons.push(reason);
      if (filename === 'rethrows') throw reason;
      if (filename === 'complains') throw new UnrecoverableJobError('I was ended.');
      // This is too late: the job counts as failed from the moment when its signal was aborted.
      return filename === 'returns' ? RESULT : () => Promise.resolve(RESULT);
    },
    { concurrency: 4, maxRunMs: 150 },
  );
  const jobs = await world.create('rethrows', 'complains', 'returns', 'returns a function');
  for (const job of jobs) {
    expect(await world.final(job)).toMatchObject({
      status: 'failed',
      errorMessage: limitOf(job),
      resultUrl: null,
    });
    expect(await world.notifications(job)).toMatchObject([{ notificationType: 'failure' }]);
    const errors = await world.harness.jobs.listAttemptErrors(job.jobId);
    expect(errors).toMatchObject([{ runNumber: 1, errorMessage: limitOf(job) }]);
  }
  expect(reasons).toHaveLength(4);
  for (const reason of reasons) expect(reason).toBeInstanceOf(RunTimeoutError);
  expect(reasons[0]).toMatchObject({ code: 'RUN_TIMEOUT', runNumber: 1, maxRunMs: 150 });
  await untilStats(({ counts, running }) => counts['jobs.failed'] === 4 && running.jobs === 0);
});

it('the next try has the whole time again', async () => {
  await boot(
    async ({ runNumber }, { signal }) => {
      if (runNumber === 1) await aborted(signal);
      return RESULT;
    },
    { maxRunMs: 150 },
    { maxAttempts: 2 },
  );
  const [job] = await world.create('a');
  expect(await world.final(job!)).toMatchObject({ status: 'completed', runNumber: 2, attempts: 2 });
});

it('a handler that ignores the signal gives up its place, and nothing of it is recorded', async () => {
  const late: (() => void)[] = [];
  const hanging = new Map<string, VideoJob>();
  await boot(
    async (job) => {
      if (job.filename === 'next') return RESULT;
      hanging.set(job.filename, job);
      await new Promise<void>((resolve) => late.push(resolve));
      return RESULT;
    },
    { concurrency: 2, maxRunMs: 150 },
  );
  const [a, b, next] = await world.create('a', 'b', 'next');
  // Both places are taken until the limit frees them.
  expect(await world.final(next!)).toMatchObject({ status: 'completed' });
  for (const job of [a!, b!]) {
    expect(await world.final(job)).toMatchObject({ status: 'failed', errorMessage: limitOf(job) });
  }
  await untilStats(({ hanging: { jobs }, running }) => jobs === 2 && running.jobs === 0);
  // After a retry, the write of the old run is still refused.
  await world.harness.jobs.retryJob(a!.jobId);
  await until(() => late.length === 3);
  await expect(world.harness.jobs.completeJob(hanging.get('b')!, RESULT)).rejects.toMatchObject({
    code: 'LEASE_LOST',
  });
  late.forEach((end) => end());
  await untilStats(({ hanging: { jobs } }) => jobs === 0);
  expect(await world.job(b!)).toMatchObject({ status: 'failed', runNumber: 1 });
});

const write = (manager: EntityManager, { jobId }: VideoJob, runNumber: number): Promise<unknown> =>
  manager.query('INSERT INTO own_writes VALUES ($1, $2)', [jobId, runNumber]);

it('a transaction that goes on after the limit is ended and rolled back, and its connection leaves the pool', async () => {
  const ends: (() => void)[] = [];
  const afterwards: Promise<unknown>[] = [];
  await boot(
    (job) =>
      Promise.resolve(async (manager) => {
        await write(manager, job, job.runNumber);
        if (job.filename === 'sleeps') await manager.query('SELECT pg_sleep(60)');
        await new Promise<void>((resolve) => ends.push(resolve));
        const writing = write(manager, job, 99);
        afterwards.push(writing.catch((error: unknown) => error));
        await writing;
        return RESULT;
      }),
    { concurrency: 4, maxRunMs: 150 },
  );
  const jobs = await world.create('a', 'b', 'c', 'sleeps');
  for (const job of jobs) {
    expect(await world.final(job)).toMatchObject({ status: 'failed', errorMessage: limitOf(job) });
  }
  // More connections were ended than the pool has. New ones have replaced them.
  expect(await world.harness.dataSource.query('SELECT * FROM own_writes')).toEqual([]);
  ends.forEach((end) => end());
  await until(() => afterwards.length === 3);
  for (const error of await Promise.all(afterwards)) expect(error).toBeInstanceOf(Error);
  expect(await world.harness.dataSource.query('SELECT * FROM own_writes')).toEqual([]);
  const [again] = await world.create('d');
  expect(await world.final(again!)).toMatchObject({ status: 'failed' });
});

it('the time to record the result does not count', async () => {
  const { dataSource } = world.harness;
  await dataSource.query(
    `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
     'BEGIN PERFORM pg_sleep(0.6); RETURN NEW; END';
     CREATE TRIGGER slow BEFORE UPDATE ON video_jobs
       FOR EACH ROW WHEN (NEW.status = 'completed') EXECUTE FUNCTION slow()`,
  );
  try {
    await boot(
      ({ filename }) =>
        Promise.resolve(filename === 'later' ? () => Promise.resolve(RESULT) : RESULT),
      { concurrency: 2, maxRunMs: 150 },
    );
    for (const job of await world.create('now', 'later')) {
      expect(await world.final(job)).toMatchObject({ status: 'completed', runNumber: 1 });
    }
  } finally {
    await dataSource.query('DROP TRIGGER slow ON video_jobs');
  }
});

it.each([0, -1, 1.5, Number.NaN, 2 ** 31, '150'])('refuses a wrong limit: %p', async (maxRunMs) => {
  await expect(
    boot(() => Promise.resolve(RESULT), { maxRunMs: maxRunMs as number }),
  ).rejects.toThrow(
    '@VideoJobProcessor of Extractor: maxRunMs must be a whole number of milliseconds from 1 to',
  );
});
