import { randomUUID } from 'node:crypto';
import type { NotificationLog } from '../../src/schema/entities/index.js';
import { notificationFixture } from '../../src/testing/notification.fixture.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS } from '../jobs/fixtures.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
// A claim finds every notification that is due, so each test begins without notifications.
beforeEach(() => h.dataSource.query('DELETE FROM notification_log'));
afterAll(() => h.close());

const made = (values: Parameters<typeof notificationFixture>[0]): Promise<NotificationLog> =>
  notificationFixture(values).persist(h.dataSource);

async function stored({ notificationId }: NotificationLog): Promise<NotificationLog> {
  const [row] = await h.dataSource.query(
    `SELECT * FROM notification_log WHERE "notificationId" = $1`,
    [notificationId],
  );
  return row as NotificationLog;
}

const claim = async (maxAttempts: number): Promise<NotificationLog | undefined> =>
  (await h.notifications.claimNotifications({ leaseMs: HOUR_MS, maxAttempts }))[0];

describe('redeliver', () => {
  it('makes a failed notification due again, with all of its tries', async () => {
    const failed = await made({ deliveryStatus: 'failed', attempts: 2 });
    expect(failed).toMatchObject({ deliveryNumber: 3, retryCount: 2 });
    const again = await h.notifications.redeliver(failed.notificationId);
    expect(again).toMatchObject({
      notificationId: failed.notificationId,
      deliveryStatus: 'pending',
      retryCount: 0,
      errorMessage: null,
      sentAt: null,
    });
    expect({ ...(await stored(again)) }).toEqual({ ...again });
    for (const deliveryNumber of [100_001, 100_002]) {
      const claimed = await claim(2);
      expect(claimed).toMatchObject({ deliveryNumber, retryCount: deliveryNumber - 100_001 });
      // The sender of an earlier delivery is refused from now on.
      await expect(h.notifications.markSent(failed)).rejects.toMatchObject({ code: 'LEASE_LOST' });
      const failure = { errorMessage: 'refused', retryInMs: 0 };
      await h.notifications.markFailed(claimed!, failure);
    }
    expect(await claim(2)).toBeUndefined();
    expect(await stored(failed)).toMatchObject({
      deliveryStatus: 'failed',
      deliveryNumber: 100_002,
      retryCount: 2,
      errorMessage: 'refused',
    });
    expect(await h.notifications.redeliver(failed.notificationId)).toMatchObject({
      deliveryNumber: 200_000,
    });
    const lost = await claim(1);
    // PostgreSQL rounds a time to milliseconds, so "now" might be still to come.
    await h.dataSource.query(`UPDATE notification_log SET "availableAt" = now() - interval '1 s'`);
    expect(await claim(1)).toBeUndefined();
    expect(await stored(lost!)).toMatchObject({
      errorMessage: 'Gave up after 1 attempts: the last delivery was lost.',
    });
  });

  it('refuses a notification that is not failed or does not exist, and says which it is', async () => {
    for (const deliveryStatus of ['pending', 'sent'] as const) {
      const { notificationId, deliveryNumber } = await made({ deliveryStatus });
      await expect(h.notifications.redeliver(notificationId)).rejects.toMatchObject({
        code: 'INVALID_NOTIFICATION_TRANSITION',
        notificationId,
        status: deliveryStatus,
        deliveryNumber,
      });
    }
    const notificationId = randomUUID();
    await expect(h.notifications.redeliver(notificationId)).rejects.toMatchObject({
      code: 'NOTIFICATION_NOT_FOUND',
      notificationId,
    });
  });
});

describe('redeliverNotifications', () => {
  it('finds by user, job, times and the text of the error', async () => {
    const { userId } = await h.user();
    const full = { deliveryStatus: 'failed', errorMessage: 'Mailbox FULL' } as const;
    const mine = await made({ ...full, userId });
    const old = await made(full);
    const other = await made({ deliveryStatus: 'failed' });
    await made({ deliveryStatus: 'sent' });
    await made({});
    await h.dataSource.query(
      `UPDATE notification_log SET "createdAt" = "createdAt" - interval '2 hours'
       WHERE "notificationId" = $1`,
      [old.notificationId],
    );
    const anHourAgo = new Date(Date.now() - HOUR_MS);
    const count = async (filter: object): Promise<number> =>
      (await h.notifications.redeliverNotifications({ ...filter, dryRun: true })).matched;
    expect(await count({})).toBe(3);
    expect(await count({ userId })).toBe(1);
    expect(await count({ jobId: other.jobId })).toBe(1);
    expect(await count({ errorText: 'mailbox full' })).toBe(2);
    expect(await count({ createdFrom: anHourAgo })).toBe(2);
    expect(await count({ createdBefore: anHourAgo })).toBe(1);
    expect(await count({ userId, jobId: other.jobId })).toBe(0);
    const first = await h.notifications.redeliverNotifications({ errorText: 'full', limit: 1 });
    expect(first).toEqual({ matched: 1, changed: 1 });
    expect(await stored(old)).toMatchObject({ deliveryStatus: 'pending', deliveryNumber: 100_000 });
    expect(await stored(mine)).toMatchObject({ deliveryStatus: 'failed' });
    expect(await h.notifications.redeliverNotifications({})).toEqual({ matched: 2, changed: 2 });
    expect(await count({})).toBe(0);
  });

  it.each([{ userId: undefined }, { jobId: 'x' }, { status: 'failed' }, { limit: 0 }, undefined])(
    'refuses %p',
    async (filter) => {
      await expect(h.notifications.redeliverNotifications(filter as object)).rejects.toMatchObject({
        code: 'INVALID_INPUT',
      });
    },
  );
});
