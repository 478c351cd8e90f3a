export { FrameForgeWorker } from './frameforge.worker.js';
export { LeaseEndedError } from '../jobs/leases/lease.keeper.js';
export { NotificationDeliverer, VideoJobProcessor } from './worker.decorators.js';
export type { HandlerOptions, ProcessorOptions } from './worker.decorators.js';
export { FrameForgeWorkerModule } from './worker.module.js';
export type {
  BackoffOptions,
  FrameForgeWorkerOptions,
  RetentionOptions,
} from './worker.options.js';
export type { Count, Handlers, WorkerStats } from './worker.stats.js';
export { RetryJobError, UnrecoverableJobError } from './worker.types.js';
export type {
  JobContext,
  DeliveryContext,
  JobOutcome,
  JobWith,
  NotificationHandler,
  RetryOptions,
  VideoJobHandler,
  WorkContext,
} from './worker.types.js';
