import { cursor } from '../input/cursor.js';
import { MAX_LIMIT } from '../input/defaults.js';
import { CheckedBy } from '../input/input.js';
import { instant, integer, oneOf, text, uuid } from '../input/rules.js';
import { DeliveryStatus, JobStatus } from '../schema/entities/index.js';
import { notificationCursor } from './older.notifications.js';

/** Which jobs to find. */
export class JobSearch {
  /** Only jobs of this status; of every status if left out. */
  @CheckedBy(oneOf(Object.values(JobStatus)), 'optional') status?: JobStatus;
  /** Only this user's jobs. Leave the key out to search every user's. */
  @CheckedBy(uuid, 'omittable') userId?: string;
  /** Only jobs with this text in the file's name or the error, in upper or lower case; 1 to 255 characters. */
  @CheckedBy(text(255), 'optional') text?: string;
  /** Only jobs that were created at this time or later. */
  @CheckedBy(instant, 'optional') from?: Date;
  /** Only jobs that were created before this time. */
  @CheckedBy(instant, 'optional') to?: Date;
  /** `newest`: newest first. `waiting`: only pending jobs, longest due first. Default `newest`. */
  @CheckedBy(oneOf(['newest', 'waiting']), 'optional') order?: 'newest' | 'waiting';
  /** 1 to 1,000; 50 if left out. */
  @CheckedBy(integer(1, MAX_LIMIT), 'optional') limit?: number;
  /** The `nextCursor` of the page before. */
  @CheckedBy(cursor, 'optional') cursor?: string | null;
}

/** Which notifications to find. */
export class NotificationSearch {
  /** Only notifications of this status; of every status if left out. */
  @CheckedBy(oneOf(Object.values(DeliveryStatus)), 'optional') deliveryStatus?: DeliveryStatus;
  /** Only notifications with this text in the address or the error, in upper or lower case; 1 to 255 characters. */
  @CheckedBy(text(255), 'optional') text?: string;
  /** Only notifications that were logged at this time or later. */
  @CheckedBy(instant, 'optional') from?: Date;
  /** Only notifications that were logged before this time. */
  @CheckedBy(instant, 'optional') to?: Date;
  /** 1 to 1,000; 50 if left out. */
  @CheckedBy(integer(1, MAX_LIMIT), 'optional') limit?: number;
  /** The `nextCursor` of the page before. */
  @CheckedBy(notificationCursor, 'optional') cursor?: string | null;
}
