import {
  toNotificationMessage,
  toVideoEventMessage,
  toVideoProcessingMessage,
} from '../../src/index.js';
import type { NotificationMessage, VideoProcessingMessage } from '../../src/index.js';
import { result, video } from '../jobs/fixtures.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

/** Copies a message as a broker does. */
const received = <T>(message: T): T => JSON.parse(JSON.stringify(message)) as T;

it('a job goes through a broker, from its creation to the delivery of its notification', async () => {
  const { userId, email } = await h.user();
  const created = await h.jobs.createJob({ ...video, userId, parameters: { every: 5 } });
  const order: VideoProcessingMessage = received(toVideoProcessingMessage(created));
  const { jobId } = created;
  expect(order).toEqual({ ...video, jobId, userId, parameters: { every: 5 } });

  const run = await h.jobs.startJob(order.jobId, { leaseMs: 60_000 });
  const about = { jobId, userId, filename: video.filename };
  const nothing = { resultUrl: null, frameCount: null, errorMessage: null, output: null };
  expect(received(toVideoEventMessage(run))).toEqual({
    ...about,
    ...nothing,
    status: 'processing',
    runNumber: 1,
    occurredAt: run.startedAt?.toISOString(),
    cancelledAt: null,
  });

  const { job, notification } = await h.jobs.completeJob(run, { ...result, output: { ms: 7 } });
  expect(received(toVideoEventMessage(job))).toEqual({
    ...about,
    ...nothing,
    ...result,
    output: { ms: 7 },
    status: 'completed',
    runNumber: 1,
    occurredAt: job.completedAt?.toISOString(),
    cancelledAt: null,
  });

  const mail: NotificationMessage = received(toNotificationMessage(notification, job));
  expect(mail).toEqual({
    notificationId: notification.notificationId,
    deliveryNumber: 0,
    notificationType: 'success',
    recipientEmail: email,
    jobId,
    filename: video.filename,
    ...result,
    errorMessage: null,
  });
  // The message contains the handle of the delivery.
  expect(await h.notifications.markSent(mail)).toMatchObject({ deliveryStatus: 'sent' });
});

it('has messages for a job that waits, and for one that failed', async () => {
  const { userId } = await h.user();
  const created = await h.jobs.createJob({ ...video, userId });
  expect(toVideoEventMessage(created)).toMatchObject({
    status: 'pending',
    runNumber: 0,
    occurredAt: created.createdAt.toISOString(),
  });
  const run = await h.jobs.startJob(created.jobId);
  const { job, notification } = await h.jobs.failJob(run, { errorMessage: 'no video stream' });
  expect(toVideoEventMessage(job)).toMatchObject({
    status: 'failed',
    errorMessage: 'no video stream',
    occurredAt: job.completedAt?.toISOString(),
  });
  expect(toNotificationMessage(notification!, job)).toMatchObject({
    notificationType: 'failure',
    resultUrl: null,
    errorMessage: 'no video stream',
  });
});
