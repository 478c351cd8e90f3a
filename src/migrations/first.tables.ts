/** A column, with the words of PostgreSQL's catalog. */
export interface FirstColumn {
  readonly name: string;
  readonly type: string;
  readonly nullable?: true;
  readonly default?: string;
  /** A further name in older databases, besides the name in snake case. */
  readonly was?: string;
}

/** A table that one of the first three migrations makes. */
export interface FirstTable {
  readonly name: string;
  readonly migration: string;
  readonly columns: readonly FirstColumn[];
  readonly primaryKey: readonly [name: string, column: string];
  readonly unique: readonly (readonly [name: string, column: string])[];
  readonly foreignKey?: readonly [name: string, column: string, references: string];
  readonly checks: readonly (readonly [name: string, expression: string])[];
  readonly indexes: readonly (readonly [name: string, columns: string])[];
}

const UUID = { type: 'uuid', default: 'gen_random_uuid()' };
const TIME = 'timestamp(3) with time zone';
const text = (length: number): string => `character varying(${length})`;

/**
 * The tables of the first three migrations. Older databases may have recorded migrations with these names, and
 * have tables that differ. Their tables are compared with these, and `adopt` turns them into these.
 */
export const FIRST_TABLES: readonly FirstTable[] = [
  {
    name: 'users',
    migration: 'CreateUsersTable1700000001000',
    columns: [
      { name: 'userId', ...UUID },
      { name: 'username', type: text(50) },
      { name: 'email', type: text(255) },
      { name: 'passwordHash', type: text(255) },
      { name: 'createdAt', type: TIME, default: 'now()' },
      { name: 'updatedAt', type: TIME, default: 'now()' },
    ],
    primaryKey: ['pk_users', 'userId'],
    unique: [
      ['uq_users_username', 'username'],
      ['uq_users_email', 'email'],
    ],
    checks: [],
    indexes: [
      ['idx_users_username', '"username"'],
      ['idx_users_email', '"email"'],
    ],
  },
  {
    name: 'video_jobs',
    migration: 'CreateVideoJobsTable1700000002000',
    columns: [
      { name: 'jobId', ...UUID },
      { name: 'userId', type: 'uuid' },
      { name: 'filename', type: text(255) },
      { name: 'status', type: text(20), default: `'pending'` },
      { name: 'videoUrl', type: 'text' },
      { name: 'resultUrl', type: 'text', nullable: true },
      { name: 'frameCount', type: 'integer', nullable: true },
      { name: 'errorMessage', type: 'text', nullable: true },
      { name: 'createdAt', type: TIME, default: 'now()' },
      { name: 'startedAt', type: TIME, nullable: true },
      { name: 'completedAt', type: TIME, nullable: true },
    ],
    primaryKey: ['pk_video_jobs', 'jobId'],
    unique: [],
    foreignKey: ['fk_video_jobs_user', 'userId', 'users'],
    checks: [['chk_jobs_status', `"status" IN ('pending', 'processing', 'completed', 'failed')`]],
    indexes: [
      ['idx_jobs_user_id', '"userId"'],
      ['idx_jobs_status', '"status"'],
      ['idx_jobs_created_at', '"createdAt"'],
      ['idx_jobs_user_status', '"userId", "status"'],
    ],
  },
  {
    name: 'notification_log',
    migration: 'CreateNotificationLogTable1700000003000',
    columns: [
      { name: 'notificationId', ...UUID },
      { name: 'jobId', type: 'uuid' },
      { name: 'notificationType', type: text(20), was: 'type' },
      { name: 'recipientEmail', type: text(255), was: 'recipient' },
      { name: 'deliveryStatus', type: text(20), default: `'pending'`, was: 'status' },
      { name: 'retryCount', type: 'integer', default: '0' },
      { name: 'errorMessage', type: 'text', nullable: true },
      { name: 'createdAt', type: TIME, default: 'now()' },
      { name: 'sentAt', type: TIME, nullable: true },
    ],
    primaryKey: ['pk_notification_log', 'notificationId'],
    unique: [],
    foreignKey: ['fk_notification_log_job', 'jobId', 'video_jobs'],
    checks: [
      ['chk_notifications_type', `"notificationType" IN ('success', 'failure')`],
      ['chk_notifications_delivery_status', `"deliveryStatus" IN ('pending', 'sent', 'failed')`],
    ],
    indexes: [
      ['idx_notifications_job_id', '"jobId"'],
      ['idx_notifications_status', '"deliveryStatus"'],
    ],
  },
];

/** The name of a column in snake case. */
export const snake = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
