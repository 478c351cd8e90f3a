import { JobAttemptError } from './job-attempt-error.entity.js';
import { NotificationLog } from './notification-log.entity.js';
import { ProcessingState } from './processing-state.entity.js';
import { User } from './user.entity.js';
import { VideoJob } from './video-job.entity.js';
import { WorkerReport } from './worker-report.entity.js';

export { JobStatus } from './job-status.js';
export { DeliveryStatus, NotificationType } from './notification-status.js';
export { JobAttemptError, NotificationLog, ProcessingState, User, VideoJob, WorkerReport };

/** The entities of this package: what `forFeature` expects in a data source's `entities`. */
export const frameForgeEntities = [
  User,
  VideoJob,
  NotificationLog,
  JobAttemptError,
  ProcessingState,
  WorkerReport,
];
