import { randomUUID } from 'node:crypto';
import { jest } from '@jest/globals';
import { failSpent } from '../../src/notifications/notification.claiming.js';
import { NotificationLog } from '../../src/schema/entities/index.js';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, lapseDelivery, makers, openPeer, withoutWaiting } from '../jobs/fixtures.js';
import type { Peer } from '../jobs/fixtures.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
  make = makers(h);
});
// A claim finds every notification that is due, so each test begins without notifications.
beforeEach(() => h.dataSource.query('DELETE FROM notification_log'));
afterAll(async () => {
  await other.close();
  await h.close();
});

/** The notification of a job that has just been completed. */
async function logged(): Promise<NotificationLog> {
  const { jobId } = await make.completed();
  const { notifications } = await h.notifications.listNotifications({ jobId });
  return notifications[0] as NotificationLog;
}

async function stored({ notificationId }: { notificationId: string }): Promise<NotificationLog> {
  const [row] = await h.dataSource.query(
    `SELECT * FROM notification_log WHERE "notificationId" = $1`,
    [notificationId],
  );
  return row as NotificationLog;
}

const claim = async (input = {}): Promise<NotificationLog> => {
  const [claimed] = await h.notifications.claimNotifications({ leaseMs: HOUR_MS, ...input });
  return claimed as NotificationLog;
};

describe('claimNotifications', () => {
  it('finds nothing where nothing is due', async () => {
    expect(await h.notifications.claimNotifications()).toEqual([]);
    const sent = await logged();
    await h.notifications.markSent(sent);
    await h.notifications.markFailed(await logged(), { errorMessage: 'no such mailbox' });
    const later = { errorMessage: 'greylisted', retryInMs: HOUR_MS };
    await h.notifications.markFailed(await logged(), later);
    expect(await h.notifications.claimNotifications()).toEqual([]);
  });

  it('leases due notifications, each in a new delivery', async () => {
    const notification = await logged();
    const [claimed] = await h.notifications.claimNotifications();
    expect(claimed).toBeInstanceOf(NotificationLog);
    expect({ ...claimed }).toEqual({
      ...notification,
      deliveryNumber: 1,
      availableAt: expect.any(Date),
    });
    const lease = claimed!.availableAt.getTime() - notification.availableAt.getTime();
    expect(lease).toBeGreaterThanOrEqual(30_000);
    expect({ ...(await stored(notification)) }).toEqual({ ...claimed });
    expect(await other.notifications.claimNotifications()).toEqual([]);
  });

  it('claims up to its limit, and first those that wait longest', async () => {
    const all = [await logged(), await logged(), await logged()];
    await lapseDelivery(h.dataSource, all[2]!);
    await lapseDelivery(h.dataSource, all[2]!);
    await lapseDelivery(h.dataSource, all[1]!);
    const ids = async (limit: number) =>
      (await h.notifications.claimNotifications({ limit })).map((one) => one.notificationId);
    expect(await ids(2)).toEqual([all[2]!.notificationId, all[1]!.notificationId]);
    expect(await ids(10)).toEqual([all[0]!.notificationId]);
  });

  it('claims a lost delivery again, counts it as a retry, and fails it after the last try', async () => {
    const notification = await logged();
    for (let deliveryNumber = 1; deliveryNumber <= 3; deliveryNumber += 1) {
      const claimed = await claim({ maxAttempts: 3 });
      expect(claimed).toMatchObject({ deliveryNumber, retryCount: deliveryNumber - 1 });
      await lapseDelivery(h.dataSource, claimed);
    }
    const behind = await logged();
    // A notification without tries left does not hide the next one.
    expect(await claim({ limit: 1, maxAttempts: 3 })).toMatchObject({
      notificationId: behind.notificationId,
    });
    expect(await stored(notification)).toMatchObject({
      deliveryStatus: 'failed',
      deliveryNumber: 3,
      retryCount: 2,
      sentAt: null,
      errorMessage: 'Gave up after 3 attempts: the last delivery was lost.',
    });
    await expect(
      h.notifications.markSent({ ...notification, deliveryNumber: 3 }),
    ).rejects.toMatchObject({ code: 'LEASE_LOST', status: 'failed', deliveryNumber: 3 });
  });

  it('finds due notifications behind thousands without a try left, in a few statements', async () => {
    const { jobId } = await make.completed();
    await h.dataSource.query('DELETE FROM notification_log');
    await h.dataSource.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail",
         "deliveryNumber", "availableAt")
       SELECT $1, 'success', 'a@example.com', 5, now() - interval '1 day'
       FROM generate_series(1, 3000)`,
      [jobId],
    );
    const due = await logged();
    const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
    expect(await claim({ limit: 1 })).toMatchObject({ notificationId: due.notificationId });
    expect(sent.mock.calls.length).toBeLessThan(15);
    sent.mockRestore();
    const [failed] = await h.dataSource.query(
      `SELECT count(*)::integer AS "count" FROM notification_log WHERE "deliveryStatus" = 'failed'`,
    );
    expect(failed.count).toBe(3000);
  });

  it('claims no more than its limit also where it looks at more, because one has no try left', async () => {
    const [spent] = [await logged(), await logged(), await logged()];
    await h.dataSource.query(
      `UPDATE notification_log SET "deliveryNumber" = 5, "availableAt" = "availableAt" - interval '1 h'
       WHERE "notificationId" = $1`,
      [spent.notificationId],
    );
    expect(await h.notifications.claimNotifications({ limit: 1 })).toHaveLength(1);
    expect(await h.notifications.claimNotifications()).toHaveLength(1);
    expect(await stored(spent)).toMatchObject({ deliveryStatus: 'failed' });
  });

  it('does not fail what has changed since it was found without a try left', async () => {
    const fresh = await logged();
    const [leased, sent, locked, spent] = [
      await logged(),
      await logged(),
      await logged(),
      await logged(),
    ];
    const set = (values: string, { notificationId }: NotificationLog): Promise<unknown> =>
      h.dataSource.query(`UPDATE notification_log SET ${values} WHERE "notificationId" = $1`, [
        notificationId,
      ]);
    for (const one of [leased, sent, locked, spent]) await set('"deliveryNumber" = 5', one);
    await set(`"availableAt" = now() + interval '1 day'`, leased);
    await set(`"deliveryStatus" = 'sent', "sentAt" = now()`, sent);
    const rest = [fresh, leased, sent, locked];
    const before = await Promise.all(rest.map(stored));
    const found = [...rest, spent].map(({ notificationId }) => notificationId);
    const db = new SqlRunner(h.dataSource, preparedByDefault());
    await other.dataSource.transaction(async (manager) => {
      await manager.query(
        `SELECT 1 FROM notification_log WHERE "notificationId" = $1 FOR NO KEY UPDATE`,
        [locked.notificationId],
      );
      expect(await withoutWaiting(h.dataSource, failSpent(db, 5, found))).toBe(1);
    });
    expect(await Promise.all(rest.map(stored))).toEqual(before);
    expect(await stored(spent)).toMatchObject({ deliveryStatus: 'failed' });
  });

  it('gives a delivery five tries by default, and keeps the last error', async () => {
    const notification = await logged();
    for (let number = 1; number <= 5; number += 1) {
      const failure = { errorMessage: `refused ${number}`, retryInMs: 0 };
      await h.notifications.markFailed(await claim(), failure);
    }
    expect(await claim()).toBeUndefined();
    expect(await stored(notification)).toMatchObject({
      deliveryStatus: 'failed',
      retryCount: 5,
      errorMessage: 'refused 5',
    });
  });

  it('gives each notification to only one of many simultaneous claims', async () => {
    const user = await h.user();
    const input = { userId: user.userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' };
    await h.jobs.createJobs(Array.from({ length: 300 }, () => input));
    const jobs = await h.jobs.claimJobs({ limit: 300, leaseMs: HOUR_MS });
    const result = { resultUrl: 's3://frames/cat.zip', frameCount: 1 };
    await h.jobs.completeJobs(jobs.map((job) => ({ job, result })));
    const services = [h.notifications, other.notifications];
    const claims = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        services[index % 2]!.claimNotifications({ limit: 7, leaseMs: HOUR_MS }),
      ),
    );
    const ids = claims.flat().map(({ notificationId }) => notificationId);
    expect(new Set(ids).size).toBe(ids.length);
    const rest = await h.notifications.claimNotifications({ limit: 1000, leaseMs: HOUR_MS });
    expect(ids.length + rest.length).toBe(300);
  });
});

describe('markSent', () => {
  it('records the delivery, and its time', async () => {
    await logged();
    const claimed = await claim();
    const sent = await h.notifications.markSent(claimed);
    expect(sent).toBeInstanceOf(NotificationLog);
    expect({ ...sent }).toEqual({
      ...claimed,
      deliveryStatus: 'sent',
      sentAt: expect.any(Date),
    });
    expect({ ...(await stored(sent)) }).toEqual({ ...sent });
  });

  it('clears the error of an earlier try', async () => {
    await logged();
    await h.notifications.markFailed(await claim(), { errorMessage: 'greylisted', retryInMs: 0 });
    const sent = await h.notifications.markSent(await claim());
    expect(sent).toMatchObject({ errorMessage: null, retryCount: 1, deliveryNumber: 2 });
  });

  it('records a delivery without a claim, for a service that delivers in its own way', async () => {
    const { notificationId } = await logged();
    const id = notificationId.toUpperCase();
    const sent = await h.notifications.markSent({ notificationId: id, deliveryNumber: 0 });
    expect(sent).toMatchObject({ notificationId, deliveryStatus: 'sent' });
  });
});

describe('markFailed', () => {
  it('fails the notification for good', async () => {
    await logged();
    const failed = await h.notifications.markFailed(await claim(), {
      errorMessage: 'no such mailbox',
    });
    expect(failed).toMatchObject({
      deliveryStatus: 'failed',
      errorMessage: 'no such mailbox',
      sentAt: null,
      retryCount: 0,
    });
  });

  it('makes it due again after a time, and counts the retry once', async () => {
    await logged();
    const failure = { errorMessage: 'greylisted', retryInMs: HOUR_MS };
    const waiting = await h.notifications.markFailed(await claim(), failure);
    expect(waiting).toMatchObject({ deliveryStatus: 'pending', retryCount: 1, deliveryNumber: 1 });
    expect(await claim()).toBeUndefined();
    await lapseDelivery(h.dataSource, waiting);
    expect(await claim()).toMatchObject({ retryCount: 1, deliveryNumber: 2 });
  });

  it('with a retry, can still be followed by markSent until the next claim', async () => {
    await logged();
    const first = await claim();
    const failure = { errorMessage: 'no answer', retryInMs: 0 };
    await h.notifications.markFailed(first, failure);
    // The reply was lost and the call is repeated. It counts the retry only once.
    const repeated = await h.notifications.markFailed(first, failure);
    expect(repeated).toMatchObject({ deliveryStatus: 'pending', retryCount: 1, deliveryNumber: 1 });
    // The provider accepts the message late. The user must not get it twice.
    const sent = await h.notifications.markSent(first);
    expect(sent).toMatchObject({ deliveryStatus: 'sent', errorMessage: null });
    expect(await claim()).toBeUndefined();
  });
});

describe('a delivery that is lost', () => {
  it.each<[string, (n: NotificationLog) => Promise<unknown>]>([
    ['markSent', (n) => h.notifications.markSent(n)],
    ['markFailed', (n) => h.notifications.markFailed(n, { errorMessage: 'x' })],
    [
      'markFailed with a retry',
      (n) => h.notifications.markFailed(n, { errorMessage: 'x', retryInMs: 0 }),
    ],
  ])('changes nothing by %s', async (_, mark) => {
    await logged();
    const first = await claim();
    await lapseDelivery(h.dataSource, first);
    const second = await claim();
    const unchanged = { ...(await stored(second)) };
    for (const stale of [first, { ...second, deliveryNumber: 3 }]) {
      await expect(mark(stale)).rejects.toMatchObject({
        code: 'LEASE_LOST',
        notificationId: first.notificationId,
        status: 'pending',
        deliveryNumber: 2,
      });
    }
    expect({ ...(await stored(second)) }).toEqual(unchanged);
    // The reply of the first call was lost. The error of the repeated call shows that the first one succeeded.
    await h.notifications.markSent(second);
    await expect(mark(second)).rejects.toMatchObject({ status: 'sent', deliveryNumber: 2 });
    expect(await stored(second)).toMatchObject({ deliveryStatus: 'sent', errorMessage: null });
    const nowhere = { ...second, notificationId: randomUUID() };
    await expect(mark(nowhere)).rejects.toMatchObject({
      code: 'NOTIFICATION_NOT_FOUND',
      notificationId: nowhere.notificationId,
    });
  });

  it('is recorded by only one of several simultaneous calls', async () => {
    for (let round = 0; round < 20; round += 1) {
      await logged();
      const claimed = await claim();
      const marks = await Promise.allSettled([
        h.notifications.markSent(claimed),
        other.notifications.markFailed(claimed, { errorMessage: 'x' }),
        h.notifications.markSent(claimed),
        other.notifications.markSent(claimed),
      ]);
      expect(marks.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const mark of marks) {
        if (mark.status === 'rejected') expect(mark.reason).toMatchObject({ code: 'LEASE_LOST' });
      }
    }
  });
});
