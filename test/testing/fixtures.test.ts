import type { DataSource } from 'typeorm';
import { InvalidInputError, LeaseLostError } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import {
  DeliveryStatus,
  JobStatus,
  NotificationLog,
  NotificationType,
  User,
  VideoJob,
} from '../../src/schema/entities/index.js';
import {
  createTestDatabase,
  elapse,
  notificationFixture,
  userFixture,
  videoJobFixture,
  withRollback,
} from '../../src/testing/index.js';
import type { TestDatabase } from '../../src/testing/index.js';

let database: TestDatabase;
let dataSource: DataSource;
let jobs: JobService;
let notifications: NotificationService;

beforeAll(async () => {
  database = await createTestDatabase();
  dataSource = await database.dataSource();
  jobs = new JobService(dataSource);
  notifications = new NotificationService(dataSource);
});
beforeEach(() => database.truncate());

const notificationsOf = async ({ jobId }: VideoJob): Promise<NotificationLog[]> =>
  (await notifications.listNotifications({ jobId })).notifications;

/** Longer than any test takes. */
const HOUR_MS = 3_600_000;
const result = { resultUrl: 's3://frames/1.zip', frameCount: 3 };

describe('userFixture', () => {
  it('is valid and different each time', async () => {
    const users = await Promise.all([1, 2, 3].map(() => userFixture().persist(dataSource)));
    expect(new Set(users.map(({ username }) => username)).size).toBe(3);
    expect(users[0]).toBeInstanceOf(User);
    expect(users[0]?.email).toMatch(/^\S+@example\.com$/);
    expect(users[0]?.createdAt).toBeInstanceOf(Date);
  });

  it('accepts values, and returns them', async () => {
    const fixture = userFixture({ username: 'ada', passwordHash: 'x', email: undefined });
    expect(fixture.values).toMatchObject({ username: 'ada', passwordHash: 'x' });
    const { userId } = await fixture.persist(dataSource);
    const [stored] = await dataSource
      .getRepository(User)
      .find({ where: { userId }, select: { username: true, email: true, passwordHash: true } });
    expect(stored?.passwordHash).toBe('x');
    expect(stored?.email).toBe(fixture.values.email);
  });
});

describe('videoJobFixture', () => {
  it('is pending and due by default', async () => {
    const job = await videoJobFixture().persist(dataSource);
    expect(job).toMatchObject({ status: 'pending', attempts: 0, runNumber: 0, workerId: null });
    expect(await jobs.claimJobs()).toMatchObject([{ jobId: job.jobId }]);
  });

  it('accepts every value of a job, and an existing user', async () => {
    const { userId } = await userFixture().persist(dataSource);
    const jobId = '3b241101-e2bb-4255-8caf-4136c566a962';
    const given = { jobId, userId, filename: 'a.mp4', videoUrl: 's3://a/a.mp4' };
    const availableAt = new Date(Date.now() + HOUR_MS);
    const job = await videoJobFixture({ ...given, availableAt }).persist(dataSource);
    expect(job).toMatchObject({ ...given, availableAt });
    expect(await dataSource.getRepository(User).count()).toBe(1);
  });

  it('is held under a lease when it is processing', async () => {
    const job = await videoJobFixture({ status: 'processing', workerId: 'w' }).persist(dataSource);
    expect(job).toMatchObject({ status: 'processing', workerId: 'w', runNumber: 1, attempts: 1 });
    expect(await jobs.claimJobs()).toEqual([]);
    expect((await jobs.completeJob(job, result)).notification.jobId).toBe(job.jobId);
  });

  it('has no lease where none is wanted', async () => {
    const job = await videoJobFixture({ status: 'processing', leaseMs: null }).persist(dataSource);
    expect(job.workerId).toBeNull();
    await elapse(dataSource, 1e9);
    expect(await jobs.claimJobs()).toEqual([]);
  });

  it.each([
    ['completed', NotificationType.SUCCESS],
    ['failed', NotificationType.FAILURE],
  ] as const)('has its notification when it is %s', async (status, notificationType) => {
    const job = await videoJobFixture({ status, errorMessage: 'too dark' }).persist(dataSource);
    expect(job).toMatchObject({ status, runNumber: 1, workerId: null });
    expect(job.completedAt).toBeInstanceOf(Date);
    expect(job.errorMessage).toBe(status === 'failed' ? 'too dark' : null);
    expect(await notificationsOf(job)).toMatchObject([{ notificationType, runNumber: 1 }]);
  });

  it('has failed as often as asked, and waits for its next try', async () => {
    const retryInMs = HOUR_MS;
    const job = await videoJobFixture({ attempts: 2, retryInMs }).persist(dataSource);
    expect(job).toMatchObject({ status: 'pending', attempts: 2, runNumber: 2 });
    expect(await jobs.listAttemptErrors(job.jobId)).toHaveLength(2);
    expect(await jobs.claimJobs()).toEqual([]);
    await elapse(dataSource, retryInMs);
    expect(await jobs.claimJobs()).toMatchObject([{ jobId: job.jobId, attempts: 3 }]);
  });

  it('is checked by the rules of JobService, and writes nothing when it is refused', async () => {
    const refused = videoJobFixture({ status: 'completed', frameCount: -1 }).persist(dataSource);
    await expect(refused).rejects.toThrow(InvalidInputError);
    expect(await dataSource.getRepository(VideoJob).count()).toBe(0);
    expect(await dataSource.getRepository(User).count()).toBe(0);
  });
});

describe('notificationFixture', () => {
  it('reports a completed job, and is due', async () => {
    const notification = await notificationFixture().persist(dataSource);
    const job = await jobs.getJob(notification.jobId);
    expect(job.status).toBe(JobStatus.COMPLETED);
    expect(notification.notificationType).toBe(NotificationType.SUCCESS);
    expect(await notifications.claimNotifications()).toMatchObject([
      { notificationId: notification.notificationId, deliveryNumber: 1 },
    ]);
  });

  it('reports a failed job of the given user', async () => {
    const user = await userFixture().persist(dataSource);
    const notification = await notificationFixture({
      notificationType: 'failure',
      userId: user.userId,
    }).persist(dataSource);
    expect(notification.recipientEmail).toBe(user.email);
    expect((await jobs.getJob(notification.jobId)).status).toBe(JobStatus.FAILED);
  });

  it('can belong to an existing job', async () => {
    const job = await videoJobFixture({ status: 'failed' }).persist(dataSource);
    const fixture = notificationFixture({ jobId: job.jobId, deliveryStatus: 'sent' });
    const notification = await fixture.persist(dataSource);
    expect(await notificationsOf(job)).toEqual([notification]);
    expect(notification.notificationType).toBe(NotificationType.FAILURE);
  });

  it.each([
    [{ deliveryStatus: 'sent' }, { deliveryNumber: 1, retryCount: 0, errorMessage: null }],
    [{ deliveryStatus: 'failed' }, { deliveryNumber: 1, errorMessage: 'gone' }],
    [{ attempts: 2 }, { deliveryStatus: 'pending', deliveryNumber: 2, retryCount: 2 }],
    [
      { deliveryStatus: 'sent', attempts: 6 },
      { deliveryNumber: 7, retryCount: 6 },
    ],
  ] as const)('with %j, has the deliveries that lead to it', async (given, expected) => {
    // Another notification has waited longer, and does not change.
    const other = await notificationFixture().persist(dataSource);
    await elapse(dataSource, HOUR_MS);
    const fixture = notificationFixture({ errorMessage: 'gone', ...given });
    const notification = await fixture.persist(dataSource);
    expect(notification).toMatchObject(expected);
    expect(notification.sentAt !== null).toBe(notification.deliveryStatus === DeliveryStatus.SENT);
    const stored = await dataSource.getRepository(NotificationLog).findOneByOrFail({
      notificationId: other.notificationId,
    });
    expect(stored.deliveryNumber).toBe(0);
  });

  it('is being delivered under a lease', async () => {
    const notification = await notificationFixture({ leaseMs: HOUR_MS }).persist(dataSource);
    expect(await notifications.claimNotifications()).toEqual([]);
    await elapse(dataSource, HOUR_MS);
    const [again] = await notifications.claimNotifications();
    expect(again?.deliveryNumber).toBe(2);
    await expect(notifications.markSent(notification)).rejects.toThrow(LeaseLostError);
  });

  it('waits for its next try', async () => {
    await notificationFixture({ attempts: 1, retryInMs: 2 * HOUR_MS }).persist(dataSource);
    await elapse(dataSource, HOUR_MS);
    expect(await notifications.claimNotifications()).toEqual([]);
    await elapse(dataSource, HOUR_MS);
    expect(await notifications.claimNotifications()).toHaveLength(1);
  });
});

describe('elapse', () => {
  it('ends a lease', async () => {
    const fixture = videoJobFixture({ status: 'processing', leaseMs: 2 * HOUR_MS });
    const late = await fixture.persist(dataSource);
    await elapse(dataSource, HOUR_MS);
    expect(await jobs.claimJobs()).toEqual([]);
    await elapse(dataSource, HOUR_MS);
    const [job] = await jobs.claimJobs();
    expect(job).toMatchObject({ jobId: late.jobId, runNumber: 2 });
    await expect(jobs.completeJob(late, result)).rejects.toThrow(LeaseLostError);
  });

  it('moves all times into the past by this time', async () => {
    const job = await videoJobFixture({ status: 'completed' }).persist(dataSource);
    await elapse(dataSource, 24 * HOUR_MS);
    const older = await jobs.getJob(job.jobId);
    for (const key of ['createdAt', 'startedAt', 'completedAt', 'availableAt'] as const) {
      expect(Number(job[key]) - Number(older[key])).toBe(24 * HOUR_MS);
    }
    const olderThan = new Date(Date.now() - HOUR_MS);
    expect(await jobs.pruneJobs({ olderThan })).toBe(0); // The notification of the job is still pending.
    await notificationFixture({ jobId: job.jobId, deliveryStatus: 'sent' }).persist(dataSource);
    expect(await jobs.pruneJobs({ olderThan })).toBe(1);
  });

  it.each([-1, NaN, Infinity])('refuses %d ms', async (ms) => {
    await expect(elapse(dataSource, ms)).rejects.toThrow(InvalidInputError);
  });
});

describe('withRollback', () => {
  it('gives services whose calls are all rolled back', async () => {
    const { userId } = await userFixture().persist(dataSource);
    const seen = await withRollback(
      dataSource,
      async (manager, jobService, notificationService) => {
        const created = await jobService.createJob(
          { userId, filename: 'a.mp4', videoUrl: 's3://a/a.mp4' },
          { manager },
        );
        await jobService.createJobs([
          { userId, filename: 'b.mp4', videoUrl: 's3://a/b.mp4', jobId: userId },
        ]);
        const claimed = await jobService.claimJobs();
        expect(claimed.map(({ jobId }) => jobId).toSorted()).toEqual(
          [created.jobId, userId].toSorted(),
        );
        await jobService.completeJob(claimed[0]!, result);
        const [notification] = await notificationService.claimNotifications();
        expect(notification?.jobId).toBe(claimed[0]?.jobId);
        expect(await jobs.countJobs()).toMatchObject({ processing: 0, completed: 0 });
        return manager.getRepository(VideoJob).count();
      },
    );
    expect(seen).toBe(2);
    expect(await dataSource.getRepository(VideoJob).count()).toBe(0);
    expect(await dataSource.getRepository(NotificationLog).count()).toBe(0);
  });

  it('works with fixtures and with elapse', async () => {
    await withRollback(dataSource, async (manager, jobService) => {
      const fixture = videoJobFixture({ status: 'processing', leaseMs: HOUR_MS });
      const { jobId } = await fixture.persist(manager);
      await elapse(manager, HOUR_MS);
      expect(await jobService.claimJobs()).toMatchObject([{ jobId }]);
    });
    expect(await dataSource.getRepository(User).count()).toBe(0);
  });

  it('rolls back a test that fails, also in a savepoint and after an SQL error', async () => {
    const failing = withRollback(dataSource, async (manager) => {
      await userFixture().persist(manager);
      await manager.queryRunner?.startTransaction();
      await manager.query('SELECT nonsense');
    });
    await expect(failing).rejects.toThrow(/"nonsense" does not exist/);
    expect(await dataSource.getRepository(User).count()).toBe(0);
  });

  it('says why a test failed whose connection broke', async () => {
    const broken = withRollback(dataSource, async (manager) => {
      await manager.query('SELECT pg_terminate_backend(pg_backend_pid())');
    });
    // PgBouncer has another message for this.
    await expect(broken).rejects.toThrow(/terminat|server conn crashed/);
    expect(await dataSource.getRepository(User).count()).toBe(0);
  });
});
