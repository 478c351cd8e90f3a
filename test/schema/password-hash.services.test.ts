import { randomUUID } from 'node:crypto';
import { firstValueFrom } from 'rxjs';
import { NotificationLog, NotificationType, VideoJob } from '../../src/index.js';
import type { User } from '../../src/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { expectHidden, SECRET } from './renderings.js';

let h: Harness;
let user: User;
beforeAll(async () => {
  h = await openHarness();
  user = await h.user({ passwordHash: SECRET });
});
afterAll(() => h.close());

describe('the services never return a password hash', () => {
  it('in any result or error', async () => {
    const called = new Set<string>();
    /** Records which methods are called, and searches all that they return. */
    const watched = <T extends object>(service: T): T =>
      new Proxy(service, {
        get(target, name, receiver) {
          const value: unknown = Reflect.get(target, name, receiver);
          if (typeof value !== 'function' || typeof name !== 'string') return value;
          return async (...args: unknown[]) => {
            called.add(name);
            try {
              const result: unknown = await value.apply(target, args);
              expectHidden(result);
              return result;
            } catch (error) {
              expectHidden(error);
              throw error;
            }
          };
        },
      });
    const [jobs, log] = [watched(h.jobs), watched(h.notifications)];
    const content = { userId: user.userId, filename: 'f', videoUrl: 's3://b/k' };
    const result = { resultUrl: 's3://b/r', frameCount: 1 };
    const run = async (): Promise<VideoJob> =>
      jobs.startJob((await jobs.createJob(content)).jobId, { leaseMs: 60_000 });

    await jobs.createJobs([content, content]);
    await jobs.claimJobs({ limit: 1 });
    await jobs.listJobs({ userId: user.userId });
    await jobs.countJobs({ userId: user.userId });
    const first = await run();
    await jobs.extendLeases([first], { leaseMs: 1_000 });
    await jobs.completeJob(first, result);
    await jobs.getJob(first.jobId);
    await jobs.completeJobs([
      { job: await run(), result },
      { job: first, result },
    ]);
    await jobs.releaseJob(await run());
    const failing = await run();
    await jobs.failJob(failing, { errorMessage: 'x' });
    await jobs.listAttemptErrors(failing.jobId);
    await log.logNotification({ jobId: failing.jobId, notificationType: NotificationType.FAILURE });
    await jobs.retryJob(failing.jobId);
    await jobs.cancelJob((await run()).jobId);
    const held = await run();
    await jobs.reportProgress([{ job: held, percent: 50 }]);
    await h.dataSource.transaction((manager) =>
      jobs.whileHeld(held, manager, () => Promise.resolve()),
    );
    await jobs.pauseProcessing();
    await jobs.resumeProcessing();
    expectHidden(await firstValueFrom(h.jobs.watchJob(held.jobId)));
    expectHidden(await firstValueFrom(h.jobs.watchJobs({ userId: user.userId })));
    await jobs.retryJobs({ dryRun: true });
    await jobs.cancelJobs({ dryRun: true });
    await jobs.pruneJobs({ olderThan: new Date(0) });
    await log.listNotifications({ jobId: first.jobId });
    const [one, two] = await log.claimNotifications();
    await log.markSent(one as NotificationLog);
    await log.markFailed(two as NotificationLog, { errorMessage: 'x' });
    await log.redeliver((two as NotificationLog).notificationId);
    await log.redeliverNotifications({ dryRun: true });

    for (const refuse of [
      () => jobs.retryJob(first.jobId),
      () => jobs.completeJob(first, result),
      () => jobs.createJob({ ...content, userId: randomUUID() }),
      () => jobs.createJob({ ...content, jobId: first.jobId, filename: 'other' }),
      () => jobs.createJob({ ...content, filename: '' }),
      () => jobs.getJob(randomUUID()),
      () => log.markSent(one as NotificationLog),
      () => log.markSent({ notificationId: randomUUID(), deliveryNumber: 1 }),
    ]) {
      await expect(refuse()).rejects.toBeInstanceOf(Error);
    }

    const methods = [h.jobs, h.notifications].flatMap((service) =>
      Object.getOwnPropertyNames(Object.getPrototypeOf(service)),
    );
    // keepLease returns no data, and the other methods here return no promise.
    const hidden = new Set([
      'constructor',
      'settle',
      'settleAll',
      'keepLease',
      'watchJob',
      'watchJobs',
    ]);
    expect([...called].toSorted()).toEqual(methods.filter((name) => !hidden.has(name)).toSorted());
  });
});
