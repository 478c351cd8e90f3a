import { CreateUsersTable1700000001000 } from './1700000001000-CreateUsersTable.js';
import { CreateVideoJobsTable1700000002000 } from './1700000002000-CreateVideoJobsTable.js';
import { CreateNotificationLogTable1700000003000 } from './1700000003000-CreateNotificationLogTable.js';
import { AddQueueColumns1700000004000 } from './1700000004000-AddQueueColumns.js';
import { CreateJobTables1700000005000 } from './1700000005000-CreateJobTables.js';
import { AddQueueIndexes1700000006000 } from './1700000006000-AddQueueIndexes.js';

export {
  AddQueueColumns1700000004000,
  AddQueueIndexes1700000006000,
  CreateJobTables1700000005000,
  CreateNotificationLogTable1700000003000,
  CreateUsersTable1700000001000,
  CreateVideoJobsTable1700000002000,
};

/** The migrations of this package, in order: what `forFeature` expects in a data source's `migrations`. */
export const frameForgeMigrations = [
  CreateUsersTable1700000001000,
  CreateVideoJobsTable1700000002000,
  CreateNotificationLogTable1700000003000,
  AddQueueColumns1700000004000,
  CreateJobTables1700000005000,
  AddQueueIndexes1700000006000,
];

/**
 * Whether a recorded migration belongs to any release of this package. The names of these migrations end in
 * 1700000, three digits, and 000. No generated migration of somebody else has such a timestamp.
 */
export const isFrameForgeMigration = (name: string): boolean => /1700000\d{3}000$/.test(name);
