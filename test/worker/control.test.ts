import type { INestApplicationContext } from '@nestjs/common';
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { JobCancelledError } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { FrameForgeWorker } from '../../src/worker/index.js';
import type { FrameForgeWorkerOptions, JobContext, JobOutcome } from '../../src/worker/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';
import type { Behaviour } from './app.js';
import { bootWorker, RESULT } from './app.js';

let h: Harness;
let app: INestApplicationContext | undefined;
beforeAll(async () => {
  h = await openHarness();
});
afterEach(async () => {
  await app?.close();
  await h.dataSource.query('DELETE FROM users');
});
afterAll(() => h.close());

const HOUR_MS = 3_600_000;
/** A third of it is the time between two heartbeats. It is so long that a busy machine extends it in time. */
const LEASE_MS = 3_000;

async function boot(
  behaviour: Behaviour,
  options: FrameForgeWorkerOptions = {},
  url = h.url,
): Promise<INestApplicationContext> {
  app = await bootWorker(url, behaviour, { pollMs: 20, ...options });
  return app;
}

const create = async (): Promise<string> => {
  const { userId } = await h.user();
  const input = { userId, filename: 'a.mp4', videoUrl: 's3://videos/a.mp4' };
  return (await h.jobs.createJob(input)).jobId;
};

const counts = (): Record<string, number> => app!.get(FrameForgeWorker).stats().counts;

/** A gate at which callers wait until it is opened. */
function gate(): { opened: Promise<void>; open: () => void } {
  const events = new EventEmitter();
  return {
    opened: once(events, 'open').then(() => {}),
    open: () => void events.emit('open'),
  };
}

/** A handler that tells when it begins, and goes on until it is aborted. */
function untilAborted() {
  const contexts: JobContext[] = [];
  const process = async (_job: unknown, context: JobContext): Promise<JobOutcome> => {
    contexts.push(context);
    return sleep(HOUR_MS, RESULT, { signal: context.signal });
  };
  return { contexts, process };
}

/** Checks the state after a run was cancelled, whatever its handler did. */
async function expectCancelled(jobId: string): Promise<void> {
  await until(() => counts()['jobs.cancelled'] === 1);
  const none = { 'jobs.failed': 0, 'jobs.lost': 0, 'jobs.retried': 0, 'jobs.completed': 0 };
  expect(counts()).toMatchObject(none);
  expect(await h.jobs.listAttemptErrors(jobId)).toEqual([]);
  const job = await h.jobs.getJob(jobId);
  expect(job).toMatchObject({ status: 'failed', runNumber: 2, cancelledAt: expect.any(Date) });
  const { notifications } = await h.notifications.listNotifications({ jobId });
  expect(notifications).toMatchObject([{ notificationType: 'failure', runNumber: 2 }]);
}

describe('the handler of a job that is cancelled', () => {
  it.each<[string, FrameForgeWorkerOptions, (jobId: string) => Promise<unknown>]>([
    [
      'at once in the same process',
      { leaseMs: HOUR_MS },
      (jobId) => app!.get(JobService).cancelJob(jobId),
    ],
    ['at its next heartbeat', { leaseMs: LEASE_MS }, (jobId) => h.jobs.cancelJob(jobId)],
  ])('is told %s', async (_, options, cancel) => {
    const { contexts, process } = untilAborted();
    await boot({ process }, options);
    const jobId = await create();
    await until(() => contexts.length === 1);
    await cancel(jobId);
    await until(() => contexts[0]!.signal.aborted);
    expect(contexts[0]!.signal.reason).toBeInstanceOf(JobCancelledError);
    expect(contexts[0]!.signal.reason).toMatchObject({ jobId, runNumber: 1 });
    await expectCancelled(jobId);
    expect(app!.get(FrameForgeWorker).stats().hanging.jobs).toBe(0);
  });

  it('is told that the job was deleted, in the same way as of a cancellation', async () => {
    const { contexts, process } = untilAborted();
    await boot({ process }, { leaseMs: LEASE_MS });
    const jobId = await create();
    await until(() => contexts.length === 1);
    await h.dataSource.query('DELETE FROM users');
    await until(() => contexts[0]!.signal.aborted);
    expect(contexts[0]!.signal.reason).toBeInstanceOf(JobCancelledError);
    expect(contexts[0]!.signal.reason).toMatchObject({ jobId, runNumber: 1, isDeleted: true });
    await until(() => counts()['jobs.cancelled'] === 1);
    expect(counts()).toMatchObject({ 'jobs.failed': 0, 'jobs.lost': 0, 'jobs.retried': 0 });
    expect(app!.get(FrameForgeWorker).stats().hanging.jobs).toBe(0);
  });

  it.each<[string, () => Promise<JobOutcome>]>([
    ['ends well', async () => RESULT],
    ['ends well in a transaction', async () => async () => RESULT],
    ['fails', () => Promise.reject(new Error('broken'))],
  ])('%s after the job was deleted: the run is counted as cancelled', async (_, end) => {
    const { opened, open } = gate();
    let begun = false;
    const process = async (): Promise<JobOutcome> => {
      begun = true;
      await opened;
      return end();
    };
    await boot({ process }, { leaseMs: HOUR_MS });
    await create();
    await until(() => begun);
    await h.dataSource.query('DELETE FROM users');
    open();
    await until(() => counts()['jobs.cancelled'] === 1);
    expect(counts()).toMatchObject({ 'jobs.failed': 0, 'jobs.lost': 0, 'jobs.retried': 0 });
  });

  it('is told only after the commit', async () => {
    const { contexts, process } = untilAborted();
    await boot({ process }, { leaseMs: HOUR_MS });
    const jobId = await create();
    await until(() => contexts.length === 1);
    const jobs = app!.get(JobService);
    await jobs.dataSource.transaction(async (manager) => {
      await jobs.cancelJob(jobId, {}, { manager });
      expect(contexts[0]!.signal.aborted).toBe(false);
    });
    await until(() => contexts[0]!.signal.aborted);
    await expectCancelled(jobId);
  });

  it('is not told of a cancellation that was rolled back to a savepoint', async () => {
    const { contexts, process } = untilAborted();
    await boot({ process }, { leaseMs: HOUR_MS });
    const jobId = await create();
    await until(() => contexts.length === 1);
    const { availableAt } = await h.jobs.getJob(jobId);
    const jobs = app!.get(JobService);
    await jobs.dataSource.transaction(async (manager) => {
      const inner = manager.transaction(async (savepoint) => {
        await jobs.cancelJob(jobId, {}, { manager: savepoint });
        throw new Error('on purpose');
      });
      await expect(inner).rejects.toThrow('on purpose');
    });
    // The worker has asked the database, because the lease was extended.
    await until(async () => (await h.jobs.getJob(jobId)).availableAt > availableAt);
    expect(contexts[0]!.signal.aborted).toBe(false);
    await jobs.cancelJob(jobId);
    await expectCancelled(jobId);
  });

  it('is told by a NOTIFY, which is believed only if the database says the same', async () => {
    const { contexts, process } = untilAborted();
    // LISTEN needs a session.
    const server = onServer(h.url);
    await boot({ process }, { leaseMs: HOUR_MS, listen: true }, server);
    const jobId = await create();
    await until(() => contexts.length === 1);
    const { availableAt } = await h.jobs.getJob(jobId);
    const notify = `SELECT pg_notify('frameforge_queue', 'cancelled ' || $1)`;
    // The worker may not listen yet. When it receives the message, it asks the database, which extends the lease.
    await until(async () => {
      await h.dataSource.query(notify, [jobId]);
      return (await h.jobs.getJob(jobId)).availableAt > availableAt;
    });
    expect(contexts[0]!.signal.aborted).toBe(false);
    await h.jobs.cancelJob(jobId);
    await h.dataSource.query(notify, [jobId]);
    await until(() => contexts[0]!.signal.aborted);
    await expectCancelled(jobId);
  });

  it.each<[string, () => Promise<JobOutcome>]>([
    ['ends well', async () => RESULT],
    ['throws', () => Promise.reject(new Error('broken'))],
    ['writes in its own transaction', async () => async () => RESULT],
  ])('ignores the signal and %s: nothing of it is recorded', async (_, end) => {
    const [started, ending] = [gate(), gate()];
    const process = async (): Promise<JobOutcome> => {
      started.open();
      await ending.opened;
      return end();
    };
    // There is no heartbeat, so the worker learns of the cancellation when it writes.
    await boot({ process }, { leaseMs: HOUR_MS });
    const jobId = await create();
    await started.opened;
    await h.jobs.cancelJob(jobId);
    ending.open();
    await expectCancelled(jobId);
  });
});

describe('progress', () => {
  it('is reported while the handler runs, always the latest value, and is 100 when the job is completed', async () => {
    const seen = gate();
    const process = async (_job: unknown, { progress }: JobContext): Promise<JobOutcome> => {
      for (let step = 0; step <= 4_200; step += 1) progress(step / 100, `frame ${step}`);
      await seen.opened;
      return RESULT;
    };
    await boot({ process });
    const jobId = await create();
    await until(async () => (await h.jobs.getJob(jobId)).progress === 42);
    expect(await h.jobs.getJob(jobId)).toMatchObject({ progressMessage: 'frame 4200' });
    seen.open();
    await until(async () => (await h.jobs.getJob(jobId)).status === 'completed');
    expect(await h.jobs.getJob(jobId)).toMatchObject({ progress: 100 });
  });

  it.each<[string, [number, string?], [number, string | null]]>([
    ['a percentage above 100', [250, 'x'], [100, 'x']],
    ['a percentage below 0', [-1, 'x'], [0, 'x']],
    ['a percentage that is not a number', [Number.NaN, 'x'], [0, 'x']],
    ['a message that is too long', [7, 'ü'.repeat(300)], [7, 'ü'.repeat(255)]],
    ['a message that cannot be stored', [7, 'a\0b\uD800'], [7, 'ab\uFFFD']],
    ['a message without a character', [7, ''], [7, null]],
  ])('accepts %s', async (_, given, shown) => {
    const { contexts, process } = untilAborted();
    await boot({ process });
    const jobId = await create();
    await until(() => contexts.length === 1);
    contexts[0]!.progress(...given);
    await until(async () => {
      const { progress, progressMessage } = await h.jobs.getJob(jobId);
      return progress === shown[0] && progressMessage === shown[1];
    });
    await app!.get(JobService).cancelJob(jobId);
  });

  it('of a locked row is reported when the lock is gone', async () => {
    const { contexts, process } = untilAborted();
    await boot({ process });
    const jobId = await create();
    await until(() => contexts.length === 1);
    await h.dataSource.transaction(async (manager) => {
      await manager.query('SELECT FROM video_jobs WHERE "jobId" = $1 FOR UPDATE', [jobId]);
      contexts[0]!.progress(50);
      await sleep(200);
    });
    await until(async () => (await h.jobs.getJob(jobId)).progress === 50);
    await app!.get(JobService).cancelJob(jobId);
  });
});

it('a worker claims nothing during a pause, and the end of the pause wakes it', async () => {
  await h.jobs.pauseProcessing();
  const started: string[] = [];
  const process = async ({ jobId }: { jobId: string }): Promise<JobOutcome> => {
    started.push(jobId);
    return RESULT;
  };
  // It does not poll after its first claim, so each later start is due to a wake-up.
  await boot({ process }, { pollMs: 2 ** 30 });
  const jobs = app!.get(JobService);
  const { userId } = await h.user();
  const input = { userId, filename: 'a.mp4', videoUrl: 's3://videos/a.mp4' };
  const { jobId } = await jobs.createJob(input);
  await sleep(200);
  expect(started).toEqual([]);
  await jobs.resumeProcessing();
  await until(() => started.includes(jobId));
});
