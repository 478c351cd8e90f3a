import { hydrate } from '../sql/hydrate.js';
import { NotificationLog } from '../schema/entities/index.js';
import { NOTIFICATION_COLUMNS } from './notification.sql.js';

export type Row = Record<string, unknown>;

/** @param prefix - what stands before the notification's columns in the row */
export const toNotification = (row: Row, prefix?: string): NotificationLog =>
  hydrate(NotificationLog, NOTIFICATION_COLUMNS, row, prefix);
