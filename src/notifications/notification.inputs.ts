import { cursor } from '../input/cursor.js';
import { MAX_LIMIT } from '../input/defaults.js';
import { CheckedBy } from '../input/input.js';
import { email, flag, instant, integer, oneOf, text, uuid } from '../input/rules.js';
import { DateFromText, NumberFromText } from '../input/transforms.js';
import { DeliveryStatus, NotificationType } from '../schema/entities/index.js';

/** A notification to write, for services that finish jobs without `JobService`. */
export class LogNotificationInput {
  /** The job that the notification reports. It must have ended. */
  @CheckedBy(uuid) jobId!: string;
  /** `success` for a completed job, `failure` for a failed job. */
  @CheckedBy(oneOf(Object.values(NotificationType))) notificationType!: NotificationType;
  /** The e-mail address of the job's user if left out. */
  @CheckedBy(email, 'optional') recipientEmail?: string;
}

/** Which notifications to list, newest first. */
export class ListNotificationsInput {
  /** Only this job's notifications. Leave the key out to list every job's. */
  @CheckedBy(uuid, 'omittable') jobId?: string;
  /** Only the notifications of this user's jobs. Leave the key out to list every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
  /** Only the notifications of this status; of every status if left out. */
  @CheckedBy(oneOf(Object.values(DeliveryStatus)), 'optional') deliveryStatus?: DeliveryStatus;
  /** 1 to 1,000; 50 if left out. */
  @CheckedBy(integer(1, MAX_LIMIT), 'optional') @NumberFromText() limit?: number;
  /** The `nextCursor` of the page before. */
  @CheckedBy(cursor, 'optional') cursor?: string | null;
}

/** How many notifications to claim, and for how long. */
export class ClaimNotificationsInput {
  /** 1 to 1,000; 50 if left out. */
  @CheckedBy(integer(1, MAX_LIMIT), 'optional') limit?: number;
  /** The lease in milliseconds; 30,000 if left out. */
  @CheckedBy(integer(1), 'optional') leaseMs?: number;
  /** A notification that was tried this often fails instead of being claimed; 5 if left out. */
  @CheckedBy(integer(1), 'optional') maxAttempts?: number;
}

/** Names one delivery of a notification. A `NotificationLog` is a `NotificationHandle`. */
export class NotificationHandle {
  /** The notification. */
  @CheckedBy(uuid) notificationId!: string;
  /** The delivery that the caller holds: the fencing token. */
  @CheckedBy(integer(0)) deliveryNumber!: number;
}

/**
 * Which failed notifications to deliver again. Every key narrows the filter. A key that is present but
 * undefined is refused: without it, more messages than the caller means would be sent.
 */
export class RedeliverNotificationsFilter {
  /** Only the notifications of this user's jobs. */
  @CheckedBy(uuid, 'omittable') userId?: string;
  /** Only this job's notifications. */
  @CheckedBy(uuid, 'omittable') jobId?: string;
  /** Only notifications that were logged at this time or later. */
  @CheckedBy(instant, 'omittable') @DateFromText() createdFrom?: Date;
  /** Only notifications that were logged before this time. */
  @CheckedBy(instant, 'omittable') @DateFromText() createdBefore?: Date;
  /** Only notifications whose `errorMessage` contains this text, in upper or lower case. */
  @CheckedBy(text(1_000), 'omittable') errorText?: string;
  /** How many notifications at the most, the oldest first; all if left out. */
  @CheckedBy(integer(1), 'omittable') @NumberFromText() limit?: number;
  /** Only counts what it would change. Default false. */
  @CheckedBy(flag, 'omittable') dryRun?: boolean;
}

/** Why a delivery failed. */
export class DeliveryFailure {
  /** 1 to 100,000 characters. */
  @CheckedBy(text(100_000)) errorMessage!: string;
  /** Try again after this many milliseconds; the notification fails for good if left out. */
  @CheckedBy(integer(0), 'optional') retryInMs?: number;
}
