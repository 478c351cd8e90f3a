import { jest } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobOutcome } from '../../src/worker/index.js';
import { HOUR_MS } from '../jobs/fixtures.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

const silent = (): void => {};

let world: World;
let app: INestApplicationContext;
let closing: Promise<void> | undefined;
beforeAll(async () => {
  world = await World.open();
});
afterEach(async () => {
  await (closing ?? app.close());
  await world.clear();
});
afterAll(() => world.close());

it('a worker that ends releases its jobs at once, also if the rows of other jobs are locked', async () => {
  let begun = 0;
  const warnings: string[] = [];
  app = await bootWorker(
    world.harness.url,
    {
      process: async (_job, { signal }): Promise<JobOutcome> => {
        begun += 1;
        return sleep(HOUR_MS, RESULT, { signal });
      },
      concurrency: 8,
      logger: { log: silent, error: silent, warn: (text: string) => void warnings.push(text) },
    },
    { leaseMs: HOUR_MS, shutdownMs: 0, pollMs: 20 },
  );
  const jobs = await world.create(...Array.from({ length: 8 }, () => 'a'));
  await until(() => begun === jobs.length);
  const ids = jobs.map(({ jobId }) => jobId).toSorted();
  const [locked, free] = [ids.slice(0, 4), ids.slice(4)];
  const statuses = (of: string[]): Promise<{ status: string }[]> =>
    world.harness.dataSource.query(
      `SELECT DISTINCT status, attempts, "workerId" FROM video_jobs WHERE "jobId" = ANY($1::uuid[])`,
      [of],
    );
  const released = [{ status: 'pending', attempts: 0, workerId: null }];
  await world.harness.dataSource.transaction(async (manager) => {
    // These locks are like those of a handler in `whileHeld` that has not ended.
    await manager.query('SELECT FROM video_jobs WHERE "jobId" = ANY($1::uuid[]) FOR UPDATE', [
      locked,
    ]);
    closing = app.close();
    await until(async () => (await statuses(free))[0]?.status === 'pending');
    expect(await statuses(free)).toEqual(released);
    expect(await statuses(locked)).toMatchObject([{ status: 'processing' }]);
  });
  await closing;
  expect(await statuses(locked)).toEqual(released);
  expect(warnings.filter((text) => !text.startsWith('Stopped:'))).toEqual([]);
});

it('handlers that go on after the end of their worker do not keep its process from ending', async () => {
  const timeouts = jest.spyOn(globalThis, 'setTimeout');
  const clears = jest.spyOn(globalThis, 'clearTimeout');
  let begun = 0;
  const never = (): Promise<never> => {
    begun += 1;
    return new Promise(() => {});
  };
  closing = undefined;
  app = await bootWorker(
    world.harness.url,
    { process: never, deliver: never },
    { leaseMs: HOUR_MS, maxRunMs: HOUR_MS, deliveryLeaseMs: HOUR_MS, shutdownMs: 0, pollMs: 20 },
  );
  const [, cancelled] = await world.create('a', 'b');
  await world.harness.jobs.cancelJob(cancelled!.jobId);
  await until(async () => begun >= 2 && (await world.notifications(cancelled!)).length === 1);
  await until(async () => {
    const [sent] = await world.notifications(cancelled!);
    return sent?.deliveryNumber === 1;
  });
  await app.close();
  const started = timeouts.mock.results.filter(
    (_, index) => Number(timeouts.mock.calls[index]?.[1]) > HOUR_MS / 2,
  );
  const pending = started
    .map(({ value }) => value as NodeJS.Timeout)
    .filter((timer) => clears.mock.calls.every(([cleared]) => cleared !== timer));
  // The limit of the run, and the lease of the delivery.
  expect(pending.length).toBeGreaterThan(1);
  expect(pending.filter((timer) => timer.hasRef())).toHaveLength(0);
  jest.restoreAllMocks();
});
