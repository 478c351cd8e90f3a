import { randomUUID } from 'node:crypto';
import type { ListNotificationsInput } from '../../src/notifications/notification.inputs.js';
import {
  DeliveryStatus,
  NotificationLog,
  NotificationType,
} from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, makers, notificationsOf } from '../jobs/fixtures.js';

let h: Harness;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
afterAll(() => h.close());

const { SUCCESS, FAILURE } = NotificationType;

/** A job that another service finished with its own SQL, without a notification. */
async function finished(status: 'completed' | 'failed'): Promise<{ jobId: string; email: string }> {
  const user = await h.user();
  const [job] = await h.dataSource.query(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "startedAt", "completedAt")
     VALUES ($1, 'cat.mp4', 's3://videos/cat.mp4', $2, now(), now()) RETURNING "jobId"`,
    [user.userId, status],
  );
  return { jobId: job.jobId, email: user.email };
}

/** All pages, one after the other. */
async function pages(input: ListNotificationsInput): Promise<NotificationLog[][]> {
  const all: NotificationLog[][] = [];
  let cursor: string | null = null;
  do {
    const page = await h.notifications.listNotifications({ ...input, cursor });
    all.push(page.notifications);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return all;
}

describe('logNotification', () => {
  it.each([
    ['completed', SUCCESS],
    ['failed', FAILURE],
  ] as const)(
    'logs for a %s job, once, a notification of the type %s',
    async (status, notificationType) => {
      const { jobId, email } = await finished(status);
      const logged = await h.notifications.logNotification({ jobId, notificationType });
      expect(logged).toBeInstanceOf(NotificationLog);
      expect({ ...logged }).toEqual({
        notificationId: expect.any(String),
        jobId,
        notificationType,
        recipientEmail: email,
        deliveryStatus: 'pending',
        retryCount: 0,
        errorMessage: null,
        createdAt: expect.any(Date),
        sentAt: null,
        availableAt: logged.createdAt,
        deliveryNumber: 0,
        runNumber: 0,
      });
      const again = {
        jobId: jobId.toUpperCase(),
        notificationType,
        recipientEmail: 'b@example.com',
      };
      expect(await h.notifications.logNotification(again)).toEqual(logged);
      expect(await notificationsOf(h.dataSource, jobId)).toEqual([{ ...logged }]);
    },
  );

  it('accepts another recipient', async () => {
    const { jobId } = await finished('completed');
    const recipientEmail = 'ops+frames@example.com';
    const input = { jobId, notificationType: SUCCESS, recipientEmail };
    expect(await h.notifications.logNotification(input)).toMatchObject({ recipientEmail });
    for (const wrong of ['', 'nobody', `${'a'.repeat(250)}@example.com`]) {
      await expect(
        h.notifications.logNotification({ ...input, recipientEmail: wrong }),
      ).rejects.toMatchObject({ problems: [{ property: 'recipientEmail' }] });
    }
  });

  it('returns the notification that completeJob or failJob has logged', async () => {
    const { jobId } = await make.completed();
    const [logged] = await notificationsOf(h.dataSource, jobId);
    const again = await h.notifications.logNotification({ jobId, notificationType: SUCCESS });
    expect({ ...again }).toEqual(logged);
    expect(await notificationsOf(h.dataSource, jobId)).toHaveLength(1);
  });

  it('is refused if the job does not have the status that the notification reports', async () => {
    const { jobId } = await make.completed();
    const refused = h.notifications.logNotification({ jobId, notificationType: FAILURE });
    await expect(refused).rejects.toMatchObject({
      code: 'INVALID_JOB_TRANSITION',
      jobId,
      status: 'completed',
      runNumber: 1,
      message: expect.stringContaining('reported as failed'),
    });
    // A refused call writes nothing, also if the run has no notification yet.
    const silent = await finished('completed');
    const opposite = { jobId: silent.jobId, notificationType: FAILURE };
    await expect(h.notifications.logNotification(opposite)).rejects.toMatchObject({
      code: 'INVALID_JOB_TRANSITION',
    });
    expect(await notificationsOf(h.dataSource, silent.jobId)).toEqual([]);
    const unknown = { jobId: randomUUID(), notificationType: SUCCESS };
    await expect(h.notifications.logNotification(unknown)).rejects.toMatchObject({
      code: 'JOB_NOT_FOUND',
      jobId: unknown.jobId,
    });
  });

  it('logs once when two services log at the same time, also inside transactions', async () => {
    for (let round = 0; round < 20; round += 1) {
      const { jobId } = await finished('completed');
      const input = { jobId, notificationType: SUCCESS };
      const logged = await Promise.all(
        Array.from({ length: 6 }, (_, index) =>
          index % 2 === 0
            ? h.notifications.logNotification(input)
            : h.dataSource.transaction((manager) =>
                h.notifications.logNotification(input, { manager }),
              ),
        ),
      );
      expect(new Set(logged.map(({ notificationId }) => notificationId)).size).toBe(1);
      expect(await notificationsOf(h.dataSource, jobId)).toHaveLength(1);
    }
  });

  it('logs once when two services log at the same time after another service has failed the job', async () => {
    for (let round = 0; round < 20; round += 1) {
      const { jobId } = await make.failed();
      await h.dataSource.query(
        `UPDATE video_jobs SET status = 'completed', "completedAt" = now() WHERE "jobId" = $1`,
        [jobId],
      );
      const input = { jobId, notificationType: SUCCESS };
      const logged = await Promise.all(
        Array.from({ length: 6 }, () => h.notifications.logNotification(input)),
      );
      expect(new Set(logged.map(({ notificationId }) => notificationId)).size).toBe(1);
      expect(logged[0]?.runNumber).toBe(2);
      expect(await notificationsOf(h.dataSource, jobId)).toHaveLength(2);
    }
  });
});

describe('listNotifications', () => {
  it('lists the newest first, in pages that skip and repeat nothing', async () => {
    const { jobId } = await make.pending();
    await h.dataSource.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "runNumber")
       SELECT $1, 'failure', 'a@example.com', i FROM generate_series(100, 111) i`,
      [jobId],
    );
    const [all] = await pages({ jobId });
    expect(all).toHaveLength(12);
    for (const limit of [1, 5, 11, 12, 13]) {
      const paged = await pages({ jobId, limit });
      expect(paged.flat()).toEqual(all);
      expect(paged).toHaveLength(Math.ceil(12 / limit));
    }
    await h.dataSource.query(`DELETE FROM notification_log WHERE "jobId" = $1`, [jobId]);
  });

  it('filters by job and by deliveryStatus', async () => {
    const { jobId } = await make.completed();
    const [pending] = await h.notifications
      .listNotifications({ jobId })
      .then((p) => p.notifications);
    const sent = await h.notifications.markSent(pending!);
    const list = async (input: ListNotificationsInput) =>
      (await h.notifications.listNotifications(input)).notifications;
    expect(await list({ jobId, deliveryStatus: DeliveryStatus.SENT })).toEqual([sent]);
    expect(await list({ jobId, deliveryStatus: DeliveryStatus.PENDING })).toEqual([]);
    expect(await list({ jobId: randomUUID() })).toEqual([]);
    await make.failed();
    const statuses = await list({ deliveryStatus: DeliveryStatus.PENDING, limit: 1000 });
    expect(new Set(statuses.map(({ deliveryStatus }) => deliveryStatus))).toEqual(
      new Set(['pending']),
    );
    expect((await list({})).map(({ notificationId }) => notificationId)).toContain(
      sent.notificationId,
    );
  });

  it('refuses a jobId that is undefined, and a forged cursor', async () => {
    await expect(h.notifications.listNotifications({ jobId: undefined })).rejects.toMatchObject({
      problems: [{ property: 'jobId' }],
    });
    await expect(h.notifications.listNotifications({ cursor: 'x' })).rejects.toMatchObject({
      problems: [{ property: 'cursor' }],
    });
    await expect(h.notifications.listNotifications({ limit: 0 })).rejects.toMatchObject({
      problems: [{ property: 'limit' }],
    });
  });

  it("lists a user's own notifications only", async () => {
    const [mine, others] = [await make.failed(), await make.failed()];
    const [page] = await pages({ userId: mine.userId });
    expect(page!.map(({ jobId }) => jobId)).toEqual([mine.jobId]);
    expect(await pages({ userId: mine.userId, jobId: others.jobId })).toEqual([[]]);
  });

  it('keeps the notification of each run', async () => {
    const { jobId } = await make.failed();
    // Otherwise both notifications may have the same time, and the list may show them in either order.
    await h.dataSource.query(
      `UPDATE notification_log SET "createdAt" = "createdAt" - interval '1 s' WHERE "jobId" = $1`,
      [jobId],
    );
    await h.jobs.retryJob(jobId);
    const again = await h.jobs.startJob(jobId, { leaseMs: HOUR_MS });
    await h.jobs.failJob(again, { errorMessage: 'still none' });
    const [page] = await pages({ jobId });
    expect(page!.map(({ runNumber }) => runNumber)).toEqual([2, 1]);
  });
});
