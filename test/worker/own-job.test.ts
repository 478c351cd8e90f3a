import { setTimeout as sleep } from 'node:timers/promises';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import { FrameForgeWorker } from '../../src/worker/index.js';
import type { WorkContext } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

/** So long that a busy machine extends it in time. */
const LEASE_MS = 3_000;

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

const spoil = (job: VideoJob): void => {
  Object.assign(job, { jobId: 'x', runNumber: -1, workerId: null, attempts: 99, status: 'failed' });
};
const spoilAndHang = (job: VideoJob): Promise<typeof RESULT> => {
  spoil(job);
  return new Promise(() => {});
};

it('a handler that changes its job object harms neither this job nor another', async () => {
  const outcomes: Record<string, (job: VideoJob) => Promise<typeof RESULT>> = {
    // This takes longer than the lease, so that the lease must be extended.
    result: () => sleep(LEASE_MS + 500, RESULT),
    other: () => sleep(LEASE_MS + 500, RESULT),
    failure: () => Promise.reject(new Error('it does not work')),
  };
  const app = await bootWorker(
    world.harness.url,
    {
      process: (job) => {
        const outcome = outcomes[job.filename]!(job);
        if (job.filename !== 'other') spoil(job);
        return outcome;
      },
    },
    { leaseMs: LEASE_MS, maxAttempts: 2, pollMs: 20 },
  );
  try {
    const [result, other, failure] = await world.create('result', 'other', 'failure');
    for (const job of [result!, other!]) {
      expect(await world.final(job)).toMatchObject({
        status: 'completed',
        runNumber: 1,
        attempts: 1,
      });
    }
    expect(await world.final(failure!)).toMatchObject({
      status: 'failed',
      runNumber: 2,
      attempts: 2,
    });
    // The test may see the last commit before the worker gets the reply to it.
    await until(() => app.get(FrameForgeWorker).stats().running.jobs === 0);
    expect(app.get(FrameForgeWorker).stats().counts).toMatchObject({
      'jobs.completed': 2,
      'jobs.retried': 1,
      'jobs.failed': 1,
      'jobs.lost': 0,
    });
  } finally {
    await app.close();
  }
});

const spoilDelivery = async (notification: NotificationLog, { attempt }: WorkContext) => {
  Object.assign(notification, { notificationId: 'x', deliveryNumber: -1 });
  if (attempt === 1) throw new Error('not yet');
};

it('a deliverer that changes its notification object harms nothing', async () => {
  const deliveryBackoff = { baseMs: 1, maxMs: 1 };
  const app = await bootWorker(
    world.harness.url,
    { deliver: spoilDelivery },
    { pollMs: 20, deliveryBackoff },
  );
  try {
    const [job] = await world.create('a');
    await until(async () => (await world.notifications(job!))[0]?.deliveryStatus === 'sent');
    expect((await world.notifications(job!))[0]).toMatchObject({ deliveryNumber: 2 });
  } finally {
    await app.close();
  }
});

it('a job whose object its handler has changed is given back at shutdown', async () => {
  const app = await bootWorker(world.harness.url, { process: spoilAndHang }, { shutdownMs: 0 });
  const [job] = await world.create('a');
  await until(() => app.get(FrameForgeWorker).stats().running.jobs === 1);
  await app.close();
  expect(await world.job(job!)).toMatchObject({ status: 'pending', attempts: 0, workerId: null });
});
