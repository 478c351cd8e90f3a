import type { EntityManager } from 'typeorm';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import { MAX_INTEGER } from '../input/rules.js';
import { JobService } from '../jobs/job.service.js';
import { NotificationService } from '../notifications/notification.service.js';
import { JobStatus, NotificationType } from '../schema/entities/index.js';
import type { DeliveryStatus, NotificationLog } from '../schema/entities/index.js';
import { tablesOf } from '../schema/tables.js';
import { fixture } from './fixture.js';
import type { Fixture } from './fixture.js';
import { servicesIn } from './rollback.js';
import { videoJobFixture } from './video-job.fixture.js';

/** The values of a notification that `notificationFixture` makes. */
export interface NotificationValues {
  /** Default `pending`. */
  deliveryStatus: DeliveryStatus;
  /** Default: by the status of the job; `success` for a new job. */
  notificationType?: NotificationType;
  /** An existing job that is completed or failed; a new one if left out. */
  jobId?: string;
  /** The user of the new job; a new user if left out. */
  userId?: string;
  /** How many deliveries have failed already. Another try follows each of them. Default 0. */
  attempts: number;
  /** The error of the failed deliveries. */
  errorMessage: string;
  /** The wait after the last failed delivery, in ms. Default 0. */
  retryInMs: number;
  /** For a `pending` notification: a delivery is under way, with a lease of this length, in ms. */
  leaseMs?: number;
}

/**
 * A notification in any state of its life. The services bring it into this state. Its job has ended with the
 * matching status. Use its row as the handle for `markSent` and `markFailed`.
 */
export function notificationFixture(
  given: Partial<NotificationValues> = {},
): Fixture<NotificationValues, NotificationLog> {
  const defaults: NotificationValues = {
    deliveryStatus: 'pending',
    attempts: 0,
    errorMessage: 'The mail server refused the message.',
    retryInMs: 0,
  };
  return fixture(defaults, given, write);
}

async function write(manager: EntityManager, values: NotificationValues): Promise<NotificationLog> {
  const { deliveryStatus, errorMessage, leaseMs } = values;
  const notifications = new NotificationService(dataSourceOf(manager), {
    preparedStatements: false,
  });
  const logged = await log(manager, notifications, values);
  const claim = (): Promise<NotificationLog> => claimOne(manager, logged, leaseMs);
  let waiting = logged;
  for (let left = values.attempts; left > 0; left -= 1) {
    const failure = { errorMessage, retryInMs: left > 1 ? 0 : values.retryInMs };
    waiting = await notifications.markFailed(await claim(), failure, { manager });
  }
  switch (deliveryStatus) {
    case 'pending':
      return leaseMs === undefined ? waiting : claim();
    case 'sent':
      return notifications.markSent(await claim(), { manager });
    case 'failed':
      return notifications.markFailed(await claim(), { errorMessage }, { manager });
  }
}

/** Finds the notification that was logged with the end of the job. */
async function log(
  manager: EntityManager,
  notifications: NotificationService,
  { jobId, userId, notificationType }: NotificationValues,
): Promise<NotificationLog> {
  const status = notificationType === 'failure' ? 'failed' : 'completed';
  const job =
    jobId === undefined
      ? await videoJobFixture({ status, userId }).persist(manager)
      : await new JobService(dataSourceOf(manager)).getJob(jobId, { manager });
  const told =
    job.status === JobStatus.FAILED ? NotificationType.FAILURE : NotificationType.SUCCESS;
  const type = notificationType ?? told;
  return notifications.logNotification({ jobId: job.jobId, notificationType: type }, { manager });
}

/** Claims this notification and no other, because no other has waited longer. */
async function claimOne(
  manager: EntityManager,
  { notificationId }: NotificationLog,
  leaseMs?: number,
): Promise<NotificationLog> {
  const { notificationLog } = tablesOf(dataSourceOf(manager));
  await manager.query(
    `UPDATE ${notificationLog} SET "availableAt" = to_timestamp(0) WHERE "notificationId" = $1`,
    [notificationId],
  );
  const claim = { limit: 1, leaseMs, maxAttempts: MAX_INTEGER };
  const [claimed] = await servicesIn(manager).notifications.claimNotifications(claim);
  if (claimed?.notificationId === notificationId) return claimed;
  throw new Error(
    `Notification ${notificationId} could not be claimed. Was it sent, or did it fail, already?`,
  );
}
