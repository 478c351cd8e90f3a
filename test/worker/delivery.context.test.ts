import type { INestApplicationContext } from '@nestjs/common';
import type { NotificationLog } from '../../src/schema/entities/index.js';
import { JobView } from '../../src/jobs/job.view.js';
import { UnrecoverableJobError } from '../../src/worker/index.js';
import type { DeliveryContext } from '../../src/worker/index.js';
import { HOUR_MS } from '../jobs/fixtures.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

let world: World;
let app: INestApplicationContext | undefined;
beforeAll(async () => {
  world = await World.open();
});
afterEach(async () => {
  await app?.close();
  await world.clear();
});
afterAll(() => world.close());

interface Seen extends Pick<DeliveryContext, 'job' | 'attempt'> {
  readonly notification: NotificationLog;
}

/** A worker that only delivers. */
async function delivering(fails: (seen: Seen) => boolean = () => false): Promise<Seen[]> {
  const seen: Seen[] = [];
  app = await bootWorker(
    world.harness.url,
    {
      process: () => Promise.reject(new UnrecoverableJobError('not here')),
      deliver: async (notification, { job, attempt }) => {
        seen.push({ notification, job, attempt });
        if (fails(seen.at(-1)!)) throw new Error('refused');
      },
    },
    { pollMs: 20, maxDeliveryAttempts: 2, deliveryBackoff: { baseMs: 0, maxMs: 0 } },
  );
  return seen;
}

it('a deliverer gets the job in the form that an API shows', async () => {
  const { jobs } = world.harness;
  const [a, b, c] = await jobs.createJobs(
    world.inputs('a', 'b', 'c').map((input) => ({ ...input, parameters: { fps: 2 } })),
  );
  const run = (job: { jobId: string }) => jobs.startJob(job.jobId, { leaseMs: HOUR_MS });
  await jobs.completeJob(await run(a!), { ...RESULT, output: { seconds: 9 } });
  await jobs.failJob(await run(b!), { errorMessage: 'no video stream' });
  await jobs.cancelJob(c!.jobId, { reason: 'wrong file' });
  const seen = await delivering();
  await until(() => seen.length === 3);
  const viewOf = ({ jobId }: { jobId: string }): JobView =>
    seen.find(({ job }) => job.jobId === jobId)!.job;
  expect(viewOf(a!)).toBeInstanceOf(JobView);
  expect(viewOf(a!)).toMatchObject({
    ...RESULT,
    status: 'completed',
    progress: 100,
    output: { seconds: 9 },
    parameters: { fps: 2 },
    completedAt: expect.any(Date),
  });
  expect(viewOf(a!)).not.toHaveProperty('workerId');
  expect(viewOf(b!)).toMatchObject({ status: 'failed', errorMessage: 'no video stream' });
  expect(viewOf(b!).cancelledAt).toBeNull();
  expect(viewOf(c!)).toMatchObject({
    status: 'failed',
    cancelledAt: expect.any(Date),
    errorMessage: 'The job was cancelled: wrong file',
  });
});

it('a deliverer gets the job as it was when the run ended, also if it has changed since', async () => {
  const { jobs } = world.harness;
  const [job] = await world.create('a');
  const run = () => jobs.startJob(job!.jobId, { leaseMs: HOUR_MS });
  const { job: failed } = await jobs.failJob(await run(), { errorMessage: 'no video stream' });
  await jobs.retryJob(job!.jobId);
  await jobs.completeJob(await run(), RESULT);
  const seen = await delivering();
  await until(() => seen.length === 2);
  const [first, second] = seen.toSorted(
    (a, b) => Number(a.notification.runNumber) - Number(b.notification.runNumber),
  );
  expect(first).toMatchObject({
    notification: { notificationType: 'failure', runNumber: 1 },
    job: {
      status: 'failed',
      completedAt: failed.completedAt,
      resultUrl: null,
      frameCount: null,
      errorMessage: null,
      filename: 'a',
    },
  });
  expect(second).toMatchObject({
    notification: { notificationType: 'success', runNumber: 2 },
    job: { status: 'completed', ...RESULT },
  });
});

it('a notification that is delivered again starts with its first try', async () => {
  let broken = true;
  const seen = await delivering(() => broken);
  const [job] = await world.create('a');
  const { notifications } = world.harness;
  const status = async (): Promise<string | undefined> =>
    (await world.notifications(job!))[0]?.deliveryStatus;
  await until(async () => (await status()) === 'failed');
  await notifications.redeliverNotifications({ jobId: job!.jobId });
  await until(async () => (await status()) === 'failed');
  broken = false;
  await notifications.redeliverNotifications({ jobId: job!.jobId });
  await until(async () => (await status()) === 'sent');
  expect(seen.map(({ attempt }) => attempt)).toEqual([1, 2, 1, 2, 1]);
});
