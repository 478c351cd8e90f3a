export * from './database.module.js';
export type { FrameForgeDatabaseOptions } from './database.options.js';
export {
  ConfigurationError,
  DatabaseUnavailableError,
  StatementTimeoutError,
  FrameForgeError,
  InvalidInputError,
  InvalidJobTransitionError,
  InvalidNotificationTransitionError,
  JobCancelledError,
  JobConflictError,
  JobNotFoundError,
  LeaseLostError,
  MigrationError,
  NotificationNotFoundError,
  RunTimeoutError,
  StaleEntityError,
  TransactionConflictError,
  UserConflictError,
  UserNotFoundError,
  isFrameForgeError,
} from './errors.js';
export type {
  AnyFrameForgeError,
  CallOutcome,
  FrameForgeErrorCode,
  InputProblem,
} from './errors.js';
export * from './http/frameforge-exception.filter.js';
export * from './jobs/bulk/bulk.inputs.js';
export * from './jobs/control/control.inputs.js';
export * from './jobs/job.inputs.js';
export * from './jobs/job.service.js';
export * from './jobs/job.view.js';
export { LeaseEndedError } from './jobs/leases/lease.keeper.js';
export { KeepLeaseOptions } from './jobs/leases/kept.leases.js';
export type { KeptLease } from './jobs/leases/kept.leases.js';
export type { JobRefusal, SettledJob } from './jobs/job.settlement.js';
export * from './messages/broker.messages.js';
export * from './notifications/notification.inputs.js';
export * from './notifications/notification.service.js';
export * from './schema/entities/index.js';
export * from './schema/migrations/index.js';
export * from './users/user.inputs.js';
export * from './users/user.service.js';
export { migrate } from './migrations/migrate.js';
export type { BootLogger } from './connection/boot.logger.js';
export type { MigrateOptions } from './migrations/migrate.js';
export type { ServiceOptions } from './sql/sql.runner.js';
export type { CurrentManager } from './sql/sql.runner.js';
export * from './statistics/job.statistics.js';
export * from './statistics/statistics.inputs.js';
export type * from './statistics/statistics.types.js';
export type { BulkOutcome } from './sql/in.batches.js';
export type { ReadOptions, TransactionOptions } from './sql/transaction.options.js';
