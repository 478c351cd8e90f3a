import { CreateUsersTable1700000001000 } from './1700000001000-CreateUsersTable.js';
import { CreateVideoJobsTable1700000002000 } from './1700000002000-CreateVideoJobsTable.js';
import { CreateNotificationLogTable1700000003000 } from './1700000003000-CreateNotificationLogTable.js';
import { AddClaimColumns1700000004000 } from './1700000004000-AddClaimColumns.js';
import { CreateJobAttemptErrorsTable1700000005000 } from './1700000005000-CreateJobAttemptErrorsTable.js';

export {
  AddClaimColumns1700000004000,
  CreateJobAttemptErrorsTable1700000005000,
  CreateNotificationLogTable1700000003000,
  CreateUsersTable1700000001000,
  CreateVideoJobsTable1700000002000,
};

/** The migrations of this package, in order: what `forFeature` expects in a data source's `migrations`. */
export const frameForgeMigrations = [
  CreateUsersTable1700000001000,
  CreateVideoJobsTable1700000002000,
  CreateNotificationLogTable1700000003000,
  AddClaimColumns1700000004000,
  CreateJobAttemptErrorsTable1700000005000,
];
