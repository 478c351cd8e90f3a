import type { INestApplicationContext } from '@nestjs/common';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { FrameForgeWorker, RetryJobError } from '../../src/worker/index.js';
import type { WorkContext } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

const HOUR_MS = 3_600_000;

let world: World;
let app: INestApplicationContext | undefined;
beforeAll(async () => {
  world = await World.open();
});
afterEach(async () => {
  await app?.close();
  app = undefined;
  await world.clear();
});
afterAll(() => world.close());

type Process = (job: VideoJob, context: WorkContext) => never;

const boot = async (process: Process, maxAttempts = 2): Promise<void> => {
  const behaviour = {
    process: async (job: VideoJob, context: WorkContext) => process(job, context),
  };
  app = await bootWorker(world.harness.url, behaviour, { maxAttempts, pollMs: 20 });
};

const retried = (job: VideoJob): Promise<VideoJob> =>
  until(async () => {
    const now = await world.job(job);
    return now.status === 'pending' && now.runNumber > 0;
  }).then(() => world.job(job));

/** The time until a job is due, in hours, by the clock of the database. */
async function hoursUntilDue({ jobId }: VideoJob): Promise<number> {
  const [row] = await world.harness.dataSource.query<[{ hours: string }]>(
    `SELECT EXTRACT(EPOCH FROM "availableAt" - statement_timestamp()) / 3600 AS hours
     FROM video_jobs WHERE "jobId" = $1`,
    [jobId],
  );
  return Number(row.hours);
}

it('a job is tried again when the handler says, and the attempt does not count', async () => {
  await boot(() => {
    throw new RetryJobError({ inMs: 5 * HOUR_MS });
  });
  const [job] = await world.create('a');
  const now = await retried(job!);
  expect(now).toMatchObject({ attempts: 0, runNumber: 1, errorMessage: null, startedAt: null });
  const hours = await hoursUntilDue(job!);
  expect(Math.ceil(hours)).toBe(5);
  expect(await world.notifications(job!)).toEqual([]);
  // No run has failed.
  expect(await world.harness.jobs.listAttemptErrors(job!.jobId)).toEqual([]);
  await until(() => app?.get(FrameForgeWorker).stats().counts['jobs.retried'] === 1);
});

it('a job may be tried again in this way more often than maxAttempts', async () => {
  const attempts: number[] = [];
  await boot((_, { attempt }) => {
    attempts.push(attempt);
    if (attempts.length < 5) throw new RetryJobError({ inMs: 0, message: 'The disk is full.' });
    throw new Error('broken');
  }, 1);
  const [job] = await world.create('a');
  const failed = await world.final(job!);
  expect(failed).toMatchObject({ status: 'failed', errorMessage: 'broken', runNumber: 5 });
  expect(attempts).toEqual([1, 1, 1, 1, 1]);
  expect(await world.harness.jobs.listAttemptErrors(job!.jobId)).toMatchObject([
    { runNumber: 5, errorMessage: 'broken' },
  ]);
});

it('the user reads its message; if the attempt counts, the number of attempts is limited as usual', async () => {
  let first: VideoJob | undefined;
  await boot(({ runNumber }) => {
    throw new RetryJobError({
      inMs: runNumber === 1 ? HOUR_MS : 0,
      message: `Busy (${runNumber}).`,
      countAttempt: true,
    });
  });
  const [job] = await world.create('a');
  first = await retried(job!);
  expect(first).toMatchObject({ attempts: 1, errorMessage: 'Busy (1).' });
  await world.harness.dataSource.query(
    `UPDATE video_jobs SET "availableAt" = now() WHERE "jobId" = $1`,
    [job!.jobId],
  );
  expect(await world.final(job!)).toMatchObject({
    status: 'failed',
    attempts: 2,
    errorMessage: 'Busy (2).',
  });
  expect(await world.harness.jobs.listAttemptErrors(job!.jobId)).toMatchObject([
    { runNumber: 1, errorMessage: 'Busy (1).' },
    { runNumber: 2, errorMessage: 'Busy (2).' },
  ]);
});

it('a handler may throw it inside of its own transaction, which is then rolled back', async () => {
  let calls = 0;
  app = await bootWorker(
    world.harness.url,
    {
      process: (job) =>
        Promise.resolve(async (manager) => {
          await manager.query('INSERT INTO own_writes VALUES ($1, $2)', [job.jobId, job.runNumber]);
          calls += 1;
          if (calls === 1) throw new RetryJobError({ inMs: 0 });
          return RESULT;
        }),
    },
    { pollMs: 20 },
  );
  const [job] = await world.create('a');
  expect(await world.final(job!)).toMatchObject({ status: 'completed', attempts: 1, runNumber: 2 });
  expect(
    await world.harness.dataSource.query(`SELECT * FROM own_writes WHERE "jobId" = $1`, [
      job!.jobId,
    ]),
  ).toEqual([{ jobId: job!.jobId, runNumber: 2 }]);
});

it('a delivery is tried again when the deliverer says', async () => {
  app = await bootWorker(
    world.harness.url,
    {
      deliver: async (_, { attempt }) => {
        if (attempt === 1) throw new RetryJobError({ inMs: 0, message: '429' });
      },
    },
    // The ordinary backoff would be too long for this test.
    { pollMs: 20, deliveryBackoff: { baseMs: HOUR_MS, maxMs: HOUR_MS } },
  );
  const [job] = await world.create('a');
  await until(async () => (await world.notifications(job!))[0]?.deliveryStatus === 'sent');
  expect(await world.notifications(job!)).toMatchObject([{ deliveryNumber: 2, retryCount: 1 }]);
});

it.each([Number.NaN, Infinity, 2 ** 31, '5', undefined, null, 5n])(
  'refuses a wrong time: %p',
  (inMs) => {
    expect(() => new RetryJobError({ inMs: inMs as number })).toThrow(
      /^RetryJobError was given invalid input, and did nothing: inMs must be a number of milliseconds/,
    );
  },
);

it('rounds a time up, and a time in the past means now', () => {
  expect(new RetryJobError({ inMs: 0.2 }).inMs).toBe(1);
  expect(new RetryJobError({ inMs: -5 }).inMs).toBe(0);
});

it('a handler that always fails runs as often as maxAttempts says, and its last error ends the job', async () => {
  let runs = 0;
  await boot(() => {
    runs += 1;
    throw new Error(`error of run ${runs}`);
  }, 2);
  const [job] = await world.create('a');
  await until(async () => (await world.job(job!)).status === 'failed');
  expect(await world.job(job!)).toMatchObject({
    attempts: 2,
    runNumber: 2,
    errorMessage: 'error of run 2',
  });
  expect(runs).toBe(2);
});
