import { hydrate } from '../sql/hydrate.js';
import { DeliveryStatus, NotificationLog, NotificationType } from '../schema/entities/index.js';
import type { VideoJob } from '../schema/entities/index.js';
import { NOTIFICATION_COLUMNS } from './notification.sql.js';

export type Row = Record<string, unknown>;

/** @param prefix - the prefix of the names of the notification's columns in the row */
export const toNotification = (row: Row, prefix?: string): NotificationLog =>
  hydrate(NotificationLog, NOTIFICATION_COLUMNS, row, prefix);

/** Makes the notification that was logged with the end of a job, without reading it from the database. */
export function newNotification(
  notificationId: string,
  { jobId, status, runNumber, completedAt }: VideoJob,
  recipientEmail: string,
): NotificationLog {
  return hydrate(NotificationLog, NOTIFICATION_COLUMNS, {
    notificationId,
    jobId,
    notificationType: status === 'completed' ? NotificationType.SUCCESS : NotificationType.FAILURE,
    recipientEmail,
    deliveryStatus: DeliveryStatus.PENDING,
    retryCount: 0,
    errorMessage: null,
    createdAt: new Date(completedAt as Date),
    sentAt: null,
    availableAt: new Date(completedAt as Date),
    deliveryNumber: 0,
    runNumber,
  });
}
