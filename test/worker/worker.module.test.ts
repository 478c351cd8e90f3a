import type { INestApplicationContext } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { JobService } from '../../src/jobs/job.service.js';
import type { NotificationLog } from '../../src/schema/entities/index.js';
import { FrameForgeWorker, UnrecoverableJobError } from '../../src/worker/index.js';
import type { FrameForgeWorkerOptions } from '../../src/worker/index.js';
import { tooSmallPool } from '../../src/worker/pool.fit.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { until } from '../support/until.js';
import type { Behaviour } from './app.js';
import { bootWorker, RESULT } from './app.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const boot = (
  behaviour: Behaviour,
  options?: FrameForgeWorkerOptions,
): Promise<INestApplicationContext> => bootWorker(h.url, behaviour, options);

const input = async () => ({
  userId: (await h.user()).userId,
  filename: 'a.mp4',
  videoUrl: 's3://videos/a.mp4',
});

it('processes a job and delivers its notification', async () => {
  const delivered: NotificationLog[] = [];
  const app = await boot({ deliver: async (n) => void delivered.push(n) });
  try {
    const job = await app.get(JobService).createJob(await input());
    await until(async () => delivered.length === 1);
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'completed', ...RESULT });
    await until(async () => {
      const page = await h.notifications.listNotifications({ jobId: job.jobId });
      return page.notifications[0]?.deliveryStatus === 'sent';
    });
    const { counts } = app.get(FrameForgeWorker).stats();
    expect(counts).toMatchObject({ 'jobs.created': 1, 'jobs.completed': 1 });
  } finally {
    await app.close();
  }
});

const full = () => Promise.reject(new Error('ENOSPC at /var/secret/host-7'));

/** Reads the message that a user sees for a failed job, and the errors of its attempts. */
const errorsOf = async (options: FrameForgeWorkerOptions) => {
  const app = await boot({ process: full }, { maxAttempts: 1, ...options });
  try {
    const job = await app.get(JobService).createJob(await input());
    await until(async () => (await h.jobs.getJob(job.jobId)).status === 'failed');
    const { errorMessage } = await h.jobs.getJob(job.jobId);
    const [attempt] = await h.jobs.listAttemptErrors(job.jobId);
    return [errorMessage, attempt?.errorMessage];
  } finally {
    await app.close();
  }
};

describe('the error message that a user reads', () => {
  const whole = 'ENOSPC at /var/secret/host-7';

  it.each<[string, FrameForgeWorkerOptions, string]>([
    ['is the message of the error', {}, whole],
    [
      'comes from the application',
      { errorMessage: (error, job) => `${job.filename}: ${(error as Error).message.slice(0, 6)}` },
      'a.mp4: ENOSPC',
    ],
    [
      'is the message of the error if the function of the application throws',
      {
        errorMessage: () => {
          throw new Error('broken');
        },
      },
      whole,
    ],
    [
      'is the message of the error if the function of the application returns an empty text',
      { errorMessage: () => '\0 ' },
      whole,
    ],
  ])('%s; listAttemptErrors keeps the whole text', async (_, options, message) => {
    expect(await errorsOf(options)).toEqual([message, whole]);
  });
});

const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};

const doubling = (): Error => {
  let error: Error = new Error('');
  for (let level = 0; level < 60; level++) {
    error = Object.assign(new Error(''), { errors: [error, error], cause: error });
  }
  return error;
};

it.each<[string, () => object]>([
  ['a proxy that was revoked', revoked],
  ['an error that doubles at each level', doubling],
])('a handler that throws %s fails at once', async (_, thrown) => {
  const process = async (): Promise<never> => {
    throw thrown();
  };
  const app = await boot({ process }, { maxAttempts: 1, pollMs: 20, leaseMs: 3_600_000 });
  try {
    const { jobId } = await app.get(JobService).createJob(await input());
    await until(async () => (await h.jobs.getJob(jobId)).status === 'failed');
  } finally {
    await app.close();
  }
});

const silent = (): void => {};

it('a worker logs at its boot that the pool is too small for its handlers', async () => {
  const warnings: unknown[] = [];
  const logger = { log: silent, error: silent, warn: (text: unknown) => warnings.push(text) };
  // The worker also has two deliverers.
  const app = await boot({ concurrency: 2, database: { poolSize: 3 }, logger });
  await app.close();
  expect(warnings).toEqual([expect.stringMatching(/^4 handlers .* the pool has 3 connections/)]);
});

it('computes how large the pool must be', () => {
  expect(tooSmallPool(h.dataSource, 10)).toBeUndefined();
  expect(tooSmallPool(h.dataSource, 11)).toBe(
    '11 handlers run here at once, and the pool has 10 connections: those that use the database wait ' +
      'for each other. Raise `poolSize` to 16, or lower `concurrency`.',
  );
});

it('tries a job again, keeps the errors, and gives up after the last try', async () => {
  const app = await boot(
    { process: async (_job, { attempt }) => Promise.reject(new Error(`broken ${attempt}`)) },
    { maxAttempts: 3, pollMs: 20 },
  );
  try {
    const { jobId } = await app.get(JobService).createJob(await input());
    await until(async () => (await h.jobs.getJob(jobId)).status === 'failed');
    const errors = await h.jobs.listAttemptErrors(jobId);
    expect(errors.map((e) => e.errorMessage)).toEqual(['broken 1', 'broken 2', 'broken 3']);
  } finally {
    await app.close();
  }
});

it('fails an unrecoverable job at once', async () => {
  const app = await boot({
    process: () => Promise.reject(new UnrecoverableJobError('no video stream')),
  });
  try {
    const { jobId } = await app.get(JobService).createJob(await input());
    await until(async () => (await h.jobs.getJob(jobId)).status === 'failed');
    expect((await h.jobs.getJob(jobId)).attempts).toBe(1);
  } finally {
    await app.close();
  }
});

it.each([null, undefined, '', Symbol('odd'), Object.create(null) as unknown, new Error('\0')])(
  'fails an attempt whatever the handlers throw (%#)',
  async (thrown) => {
    const odd = (): Promise<never> => Promise.reject(thrown);
    const options = { maxAttempts: 1, maxDeliveryAttempts: 1 };
    const app = await boot({ process: odd, deliver: odd }, options);
    try {
      const { jobId } = await app.get(JobService).createJob(await input());
      await until(async () => (await h.jobs.getJob(jobId)).status === 'failed');
      expect((await h.jobs.getJob(jobId)).errorMessage).toMatch(/./);
      await until(async () => {
        const { notifications } = await h.notifications.listNotifications({ jobId });
        return notifications[0]?.deliveryStatus === 'failed';
      });
    } finally {
      await app.close();
    }
  },
);

it("commits the handler's own writes with the completion", async () => {
  const app = await boot({
    process: async (job) => async (manager) => {
      await manager.query(`UPDATE users SET username = $1 WHERE "userId" = $2`, [
        job.jobId,
        job.userId,
      ]);
      return RESULT;
    },
  });
  try {
    const job = await app.get(JobService).createJob(await input());
    await until(async () => (await h.jobs.getJob(job.jobId)).status === 'completed');
    expect(
      await h.dataSource.query(`SELECT username FROM users WHERE "userId" = $1`, [job.userId]),
    ).toEqual([{ username: job.jobId }]);
  } finally {
    await app.close();
  }
});

it('releases what does not end in time at shutdown', async () => {
  let aborted: unknown;
  let started = false;
  const app = await boot(
    {
      process: (_job, { signal }) =>
        new Promise((_resolve, reject) => {
          started = true;
          signal.addEventListener('abort', () => {
            aborted = signal.reason;
            reject(signal.reason as Error);
          });
        }),
    },
    { shutdownMs: 50 },
  );
  const { jobId } = await app.get(JobService).createJob(await input());
  await until(async () => started);
  await app.close();
  expect(aborted).toMatchObject({ name: 'LeaseEndedError' });
  expect(await h.jobs.getJob(jobId)).toMatchObject({
    status: 'pending',
    attempts: 0,
    runNumber: 1,
  });
});

it('keeps leases alive while handlers work', async () => {
  // So long that a busy machine extends it in time.
  const leaseMs = 3_000;
  const runs: string[] = [];
  const app = await boot(
    {
      process: async ({ jobId }) => {
        runs.push(jobId);
        await sleep(leaseMs + 500);
        return RESULT;
      },
    },
    { leaseMs },
  );
  const app2 = await boot(
    {
      process: async ({ jobId }) => {
        runs.push(jobId);
        return RESULT;
      },
    },
    { leaseMs, pollMs: 50 },
  );
  try {
    const { jobId } = await app.get(JobService).createJob(await input());
    await until(async () => (await h.jobs.getJob(jobId)).status === 'completed');
    expect(runs.filter((id) => id === jobId)).toHaveLength(1);
  } finally {
    await Promise.all([app.close(), app2.close()]);
  }
});
