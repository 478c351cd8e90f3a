import { setTimeout as sleep } from 'node:timers/promises';
import { JobService } from '../../src/jobs/job.service.js';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { claimLastTries, claimLost, claimPending } from '../../src/jobs/job.claiming.js';
import * as claims from '../../src/jobs/job.claiming.sql.js';
import { completeJobsOfWorker, settleJobs } from '../../src/jobs/job.settlement.sql.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { FrameForgeWorker } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { Statements } from './statements.js';
import { World } from './world.js';

/** This is longer than any test lasts. */
const NO_POLLS = { pollMs: 2 ** 30 };

const CLAIMS = [claims.claimPending, claims.claimLost, claims.claimLastTries];

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

const names = async (claimed: Promise<{ items: VideoJob[] }>): Promise<string[]> =>
  (await claimed).items.map(({ filename }) => filename);
const aFile = (): string => 'a';
const files = (count: number): string[] => Array.from({ length: count }, aFile);

/** Creates jobs in a transaction that commits when the test says so. */
async function createLate(
  jobs: JobService,
  filenames: string[],
): Promise<{ created: VideoJob[]; commit: () => Promise<void> }> {
  const queryRunner = jobs.dataSource.createQueryRunner();
  await queryRunner.startTransaction();
  const { manager } = queryRunner;
  const created = await jobs.createJobs(world.inputs(...filenames), { manager });
  const commit = async (): Promise<void> => {
    await queryRunner.commitTransaction();
    await queryRunner.release();
  };
  return { created, commit };
}

describe('jobs whose transaction commits late', () => {
  it('start at once in the same process, although newer jobs were claimed meanwhile', async () => {
    const app = await bootWorker(world.harness.url, {}, NO_POLLS);
    try {
      const jobs = app.get(JobService);
      const { created, commit } = await createLate(jobs, ['late']);
      const later = await jobs.createJobs(world.inputs('a', 'b', 'c'));
      for (const job of later) await world.final(job);
      await commit();
      expect(await world.final(created[0]!)).toMatchObject({ status: 'completed' });
    } finally {
      await app.close();
    }
  });

  it('are found by polls if another process created them', async () => {
    const app = await bootWorker(world.harness.url, {}, { pollMs: 50 });
    try {
      const { created, commit } = await createLate(world.harness.jobs, ['late']);
      for (const job of await world.create('a', 'b', 'c')) await world.final(job);
      await commit();
      expect(await world.final(created[0]!)).toMatchObject({ status: 'completed' });
    } finally {
      await app.close();
    }
  });
});

it('many of them are processed batch after batch, without a wait', async () => {
  const statements = new Statements();
  const behaviour = { concurrency: 50, database: { logger: statements } };
  const app = await bootWorker(world.harness.url, behaviour, NO_POLLS);
  try {
    const jobs = app.get(JobService);
    const { commit } = await createLate(jobs, files(2_000));
    for (const job of await jobs.createJobs(world.inputs('a', 'b', 'c'))) await world.final(job);
    await commit();
    await until(async () => (await world.harness.jobs.countJobs()).completed === 2_003);
    // With all places free, these are 40 batches. One claim for each job would be 2,003.
    expect(statements.count(world.harness.dataSource, ...CLAIMS)).toBeLessThan(500);
  } finally {
    await app.close();
  }
});

/** Changes jobs as if a worker had been lost while it ran them, in their n-th try. */
const abandon = async (jobs: VideoJob[], attempts: number): Promise<void> => {
  await world.harness.dataSource.query(
    `UPDATE video_jobs SET status = 'processing', "startedAt" = now(), "workerId" = 'gone',
       attempts = $2, "runNumber" = $2, "availableAt" = now() - interval '1 s'
     WHERE "jobId" = ANY($1)`,
    [jobs.map(({ jobId }) => jobId), attempts],
  );
};

describe('jobs whose workers were lost, with one try left', () => {
  const maxAttempts = 3;

  it('are run one at a time, beside other jobs, because each of them may have killed its workers', async () => {
    await abandon(await world.create('suspect', 'suspect', 'suspect'), 2);
    await abandon(await world.create('other', 'other'), 1);
    await world.create('new');
    const together = new Set<VideoJob>();
    const crowds: string[][] = [];
    const process = async (job: VideoJob) => {
      together.add(job);
      crowds.push([...together].map(({ filename }) => filename));
      // Meanwhile the worker looks at the whole queue, where it could find another such job.
      if (job.filename === 'suspect') await sleep(700);
      together.delete(job);
      return RESULT;
    };
    const app = await bootWorker(world.harness.url, { process }, { maxAttempts, pollMs: 10 });
    try {
      await until(async () => (await world.harness.jobs.countJobs()).completed === 6);
      const suspects = crowds.map((crowd) => crowd.filter((name) => name === 'suspect').length);
      expect(Math.max(...suspects)).toBe(1);
      expect(crowds.some((crowd) => new Set(crowd).size > 1)).toBe(true);
    } finally {
      await app.close();
    }
  });

  it('are claimed separately from other lost jobs by a worker, and together with them by claimJobs', async () => {
    const db = new SqlRunner(world.harness.dataSource, preparedByDefault());
    const claim = { limit: 3, leaseMs: 60_000, workerId: 'worker', maxAttempts };
    await abandon(await world.create('suspect', 'suspect', 'suspect', 'suspect'), 2);
    await world.create('new', 'new');
    await abandon(await world.create('other'), 1);
    expect(await names(claimLost(db, claim, null, maxAttempts - 1))).toEqual(['other']);
    expect(await names(claimLastTries(db, { ...claim, limit: 1 }))).toEqual(['suspect']);
    expect(await names(claimPending(db, claim))).toEqual(['new', 'new']);
    const { jobs } = world.harness;
    expect(await jobs.claimJobs({ maxAttempts })).toMatchObject([
      { filename: 'suspect' },
      { filename: 'suspect' },
      { filename: 'suspect' },
    ]);
  });

  it('start one directly after the other', async () => {
    await abandon(await world.create(...files(100)), 2);
    const app = await bootWorker(world.harness.url, {}, { maxAttempts, ...NO_POLLS });
    try {
      // There are no polls. The end of a job wakes the loop for the next one.
      await until(async () => (await world.harness.jobs.countJobs()).completed === 100);
    } finally {
      await app.close();
    }
  });
});

it('the job of a lost worker does not wait behind all due jobs', async () => {
  await world.create('lost');
  await world.harness.jobs.claimJobs({ leaseMs: 1_500, workerId: 'gone' });
  await world.create(...files(400));
  const order: string[] = [];
  const process = async ({ filename }: VideoJob) => {
    order.push(filename);
    await sleep(20);
    return RESULT;
  };
  const app = await bootWorker(world.harness.url, { process, concurrency: 2 });
  try {
    await until(async () => (await world.harness.jobs.countJobs()).completed === 401);
    // This job became due last.
    expect(order.indexOf('lost')).toBeLessThan(350);
  } finally {
    await app.close();
  }
});

it('a busy worker claims and completes in batches', async () => {
  const statements = new Statements();
  const behaviour = { concurrency: 100, database: { logger: statements } };
  await world.create(...files(2_000));
  const app = await bootWorker(world.harness.url, behaviour, NO_POLLS);
  try {
    const worker = app.get(FrameForgeWorker);
    await until(() => worker.stats().counts['jobs.completed'] === 2_000);
    expect(statements.count(world.harness.dataSource, ...CLAIMS)).toBeLessThan(500);
    const settled = statements.count(world.harness.dataSource, settleJobs, completeJobsOfWorker);
    expect(settled).toBeGreaterThan(0);
    expect(settled).toBeLessThan(500);
    expect(worker.stats().counts).toMatchObject({ 'jobs.claimed': 2_000, 'jobs.completed': 2_000 });
  } finally {
    await app.close();
  }
});
