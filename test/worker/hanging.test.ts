import type { LoggerService } from '@nestjs/common';
import { FrameForgeWorker } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

const silent = (): void => {};

/** A logger, and the warnings that it got. */
function watched(): { warnings: string[]; logger: LoggerService } {
  const warnings: string[] = [];
  const warn = (text: string): void => void warnings.push(text);
  return { warnings, logger: { log: silent, error: silent, warn } };
}

it('deliverers that never settle give up their places, and are counted and logged once', async () => {
  const ends: (() => void)[] = [];
  const { warnings, logger } = watched();
  // The first delivery of each notification hangs and ignores its signal, so both places are taken.
  const deliver = (_: unknown, { attempt }: { attempt: number }): Promise<void> =>
    attempt > 1 ? Promise.resolve() : new Promise((resolve) => ends.push(resolve));
  const options = { deliveryLeaseMs: 1_000, pollMs: 20 };
  const app = await bootWorker(world.harness.url, { deliver, logger }, options);
  try {
    const worker = app.get(FrameForgeWorker);
    const jobs = await world.create('a', 'b', 'c', 'd');
    for (const job of jobs) {
      await until(async () => (await world.notifications(job))[0]?.deliveryStatus === 'sent');
    }
    expect(ends).toHaveLength(4);
    // The test may see the last commit before the worker gets the reply to it.
    await until(() => worker.stats().running.deliveries === 0);
    expect(worker.stats().hanging).toEqual({ jobs: 0, deliveries: 4 });
    expect(warnings.filter((text) => text.includes('still runs'))).toHaveLength(4);
    // Results that come so late are discarded.
    for (const end of ends) end();
    await until(() => worker.stats().hanging.deliveries === 0);
    await until(() => worker.stats().counts['deliveries.lost'] === 4);
    expect(worker.stats().counts).toMatchObject({ 'deliveries.sent': 4 });
  } finally {
    await app.close();
  }
});

it('a processor that goes on after its lease is counted until it ends', async () => {
  let finish = silent;
  const { warnings, logger } = watched();
  const process = (): Promise<typeof RESULT> =>
    new Promise((resolve) => {
      finish = () => resolve(RESULT);
    });
  const app = await bootWorker(world.harness.url, { process, logger }, { leaseMs: 1_000 });
  try {
    const worker = app.get(FrameForgeWorker);
    const [job] = await world.create('a');
    await until(() => worker.stats().counts['jobs.claimed'] === 1);
    await world.steal(job!);
    await until(() => worker.stats().hanging.jobs === 1);
    expect(worker.stats().running.jobs).toBe(1);
    expect(warnings).toEqual([expect.stringContaining('keeps its place until its handler ends')]);
    finish();
    await until(() => worker.stats().hanging.jobs === 0);
    await until(() => worker.stats().running.jobs === 0);
  } finally {
    await app.close();
  }
});
