import { setTimeout as sleep } from 'node:timers/promises';
import { claimInTurn, Rotation } from '../../src/jobs/fair.claiming.js';
import { claimPending } from '../../src/jobs/job.claiming.js';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { Claimer } from '../../src/worker/claimer.js';
import { FairClaimer } from '../../src/worker/fair.claimer.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

/** This is longer than any test lasts. */
const NO_POLLS = { pollMs: 2 ** 30 };

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

/** Creates jobs of a new user, each with the name of the user as its own. */
async function backlog(name: string, count: number): Promise<void> {
  const { userId } = await world.harness.user();
  const input = { userId, filename: name, videoUrl: 's3://videos/a.mp4' };
  await world.harness.jobs.createJobs(Array.from({ length: count }, () => input));
}

const completed = async (): Promise<number> => (await world.harness.jobs.countJobs()).completed;

describe("a worker with order: 'fair'", () => {
  it('soon runs the only job of a user behind the backlog of another user', async () => {
    await backlog('many', 400);
    await backlog('one', 1);
    const order: string[] = [];
    const process = ({ filename }: VideoJob) => {
      order.push(filename);
      return Promise.resolve(RESULT);
    };
    const app = await bootWorker(world.harness.url, { process }, { order: 'fair', ...NO_POLLS });
    try {
      await until(async () => (await completed()) === 401);
      expect(order.indexOf('one')).toBeLessThan(4);
    } finally {
      await app.close();
    }
  });

  it('first runs the jobs of a lost worker', async () => {
    await backlog('lost', 1);
    const [lost] = await world.harness.jobs.claimJobs({ workerId: 'gone' });
    await world.lapse(lost!);
    await backlog('many', 100);
    const order: string[] = [];
    const process = ({ filename }: VideoJob) => {
      order.push(filename);
      return Promise.resolve(RESULT);
    };
    const app = await bootWorker(world.harness.url, { process }, { order: 'fair', ...NO_POLLS });
    try {
      await until(async () => (await completed()) === 101);
      expect(order[0]).toBe('lost');
    } finally {
      await app.close();
    }
  });
});

it('a worker with maxRunningPerUser obeys the limit, and goes on when a place is free', async () => {
  await Promise.all(['a', 'b', 'c'].map((name) => backlog(name, 12)));
  const running: string[] = [];
  let most = 0;
  let together = 0;
  const process = async ({ filename }: VideoJob) => {
    running.push(filename);
    most = Math.max(most, running.filter((name) => name === filename).length);
    together = Math.max(together, running.length);
    await sleep(10);
    running.splice(running.indexOf(filename), 1);
    return RESULT;
  };
  const app = await bootWorker(
    world.harness.url,
    { process, concurrency: 20 },
    // There are no polls. The end of a job wakes the loop for the next job of its user.
    { maxRunningPerUser: 2, ...NO_POLLS },
  );
  try {
    await until(async () => (await completed()) === 36);
    expect(most).toBe(2);
    expect(together).toBeGreaterThan(2);
  } finally {
    await app.close();
  }
});

it('a worker whose search in turn takes too long claims by age until the search is fast again', async () => {
  // There are more jobs than the claims by age take before the worker searches in turn again.
  await backlog('first', 2_000);
  await backlog('second', 2_000);
  const db = new SqlRunner(world.harness.dataSource, preparedByDefault());
  const terms = { leaseMs: 60_000, workerId: 'worker', maxAttempts: 5 };
  const rotation = new Rotation();
  // For twenty times as long, the worker claims by age.
  let searchMs = 60;
  const claimer = new FairClaimer(
    async (limit) => ({ ...(await claimInTurn(db, { ...terms, limit }, rotation)), searchMs }),
    new Claimer((limit, dueFrom) => claimPending(db, { ...terms, limit }, dueFrom)),
  );
  const whose = async (): Promise<Set<string>> =>
    new Set((await claimer.next(4, false)).items.map(({ filename }) => filename));
  // One slow search may be due to a busy processor.
  expect(await whose()).toEqual(new Set(['first', 'second']));
  expect(await whose()).toEqual(new Set(['first', 'second']));
  expect(await whose()).toEqual(new Set(['first']));
  searchMs = 1;
  await until(async () => (await whose()).size === 2);
  expect(await whose()).toEqual(new Set(['first', 'second']));
});

it('a worker looks less and less often at users for whom other claims run for a long time', async () => {
  const empty = { items: [], failed: 0, waitedMs: [], more: false, searchMs: 0, passedOver: true };
  let claimed: Awaited<ReturnType<typeof claimInTurn>> = empty;
  const claimer = new FairClaimer(async () => claimed, undefined);
  const waits = async (times: number): Promise<(number | undefined)[]> => {
    const all = [];
    for (let n = 0; n < times; n += 1) all.push((await claimer.next(4, false)).lookAgainMs);
    return all;
  };
  expect(await waits(9)).toEqual([10, 20, 40, 80, 160, 320, 640, 640, 640]);
  claimed = { ...empty, passedOver: false };
  expect(await waits(2)).toEqual([undefined, undefined]);
  claimed = empty;
  expect(await waits(2)).toEqual([10, 20]);
});
