import { JobService } from '../../src/jobs/job.service.js';
import { claimJobs, settleJob, settleJobs } from '../../src/jobs/job.sql.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { FrameForgeWorker } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker } from './app.js';
import { Statements } from './statements.js';
import { World } from './world.js';

/** Longer than any test lasts. */
const NO_POLLS = { pollMs: 2 ** 30 };

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

const aFile = (): string => 'a';
const files = (count: number): string[] => Array.from({ length: count }, aFile);

/** Creates jobs in a transaction that commits when it is told to. */
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
  it('in the same process start at once, although later ones were claimed meanwhile', async () => {
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

  it('in another process are found by polls', async () => {
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

it('many of them are done one batch after the other, without a wait', async () => {
  const statements = new Statements();
  const behaviour = { concurrency: 50, database: { logger: statements } };
  const app = await bootWorker(world.harness.url, behaviour, NO_POLLS);
  try {
    const jobs = app.get(JobService);
    const { commit } = await createLate(jobs, files(2_000));
    for (const job of await jobs.createJobs(world.inputs('a', 'b', 'c'))) await world.final(job);
    await commit();
    await until(async () => (await world.harness.jobs.countJobs()).completed === 2_003);
    // 40 batches, if each finds its places free: far from one for each job.
    expect(statements.count(world.harness.dataSource, claimJobs)).toBeLessThan(500);
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
    expect(statements.count(world.harness.dataSource, claimJobs)).toBeLessThan(500);
    expect(statements.count(world.harness.dataSource, settleJob, settleJobs)).toBeLessThan(500);
    expect(worker.stats().counts).toMatchObject({ 'jobs.claimed': 2_000, 'jobs.completed': 2_000 });
  } finally {
    await app.close();
  }
});
