import type {
  JobStatus,
  NotificationLog,
  NotificationType,
  VideoJob,
} from '../schema/entities/index.js';

// The messages that services send each other through a broker. They are JSON, and times are ISO 8601 texts.
// Make them with the functions below, so that all services send the same form.

/** The message to a processor that there is a job to do. The processor calls `startJob(jobId, { leaseMs })`. */
export interface VideoProcessingMessage {
  /** The job to start. */
  readonly jobId: string;
  /** Whose video it is. */
  readonly userId: string;
  /** The name of the video's file. */
  readonly filename: string;
  /** Where the video is. */
  readonly videoUrl: string;
  /** The parameters of the job, as the application defines them. */
  readonly parameters: Readonly<Record<string, unknown>> | null;
}

/** The message that a job has changed. If two messages have equal `jobId`, `runNumber` and `status`, the second one is a repetition. */
export interface VideoEventMessage {
  /** The job. */
  readonly jobId: string;
  /** Whose video it is. */
  readonly userId: string;
  /** The name of the video's file. */
  readonly filename: string;
  /** Where the job is in its life now. */
  readonly status: JobStatus;
  /** The run of the job. The number only grows, so a smaller number means an older message. */
  readonly runNumber: number;
  /** Where the extracted frames are; null unless the job is completed. */
  readonly resultUrl: string | null;
  /** How many frames were extracted; null unless the job is completed. */
  readonly frameCount: number | null;
  /** Why the latest run failed; null when none did. */
  readonly errorMessage: string | null;
  /** The output of the job, as the application defines it. */
  readonly output: Readonly<Record<string, unknown>> | null;
  /** When the job was created, started or ended, by its status. For a job that waits for its next try: when it was created. */
  readonly occurredAt: string;
  /** When the job was cancelled; null when it was not. */
  readonly cancelledAt: string | null;
}

/**
 * The message to a sender of e-mails. It is also the handle of the delivery: `markSent(message)` and
 * `markFailed(message, …)` record its outcome.
 */
export interface NotificationMessage {
  /** The notification. Give it to the mail provider as the idempotency key. */
  readonly notificationId: string;
  /** The delivery that `markSent` and `markFailed` are about. */
  readonly deliveryNumber: number;
  /** Whether the job was completed or failed. */
  readonly notificationType: NotificationType;
  /** The address of the recipient. */
  readonly recipientEmail: string;
  /** The job that it reports. */
  readonly jobId: string;
  /** The name of the video's file. */
  readonly filename: string;
  /** Where the extracted frames are; null for a failure. */
  readonly resultUrl: string | null;
  /** How many frames were extracted; null for a failure. */
  readonly frameCount: number | null;
  /** Why the job failed; null for a success. */
  readonly errorMessage: string | null;
}

/** Makes the message that sends a job to its processor. Send it after the commit of `createJob`. */
export function toVideoProcessingMessage(job: VideoJob): VideoProcessingMessage {
  const { jobId, userId, filename, videoUrl, parameters } = job;
  return { jobId, userId, filename, videoUrl, parameters };
}

/** Makes the message that tells of a job as it is, such as one that `startJob` or `completeJob` has returned. */
export function toVideoEventMessage(job: VideoJob): VideoEventMessage {
  const { jobId, userId, filename, status, runNumber } = job;
  const { resultUrl, frameCount, errorMessage, output } = job;
  const occurredAt = (job.completedAt ?? job.startedAt ?? job.createdAt).toISOString();
  const cancelledAt = job.cancelledAt?.toISOString() ?? null;
  const about = { jobId, userId, filename, status, runNumber };
  return { ...about, resultUrl, frameCount, errorMessage, output, occurredAt, cancelledAt };
}

/**
 * Makes the message that sends a notification to its sender.
 *
 * @param notification - as `completeJob`, `failJob` or `claimNotifications` has returned it
 * @param job - the job that it reports
 */
export function toNotificationMessage(
  notification: NotificationLog,
  job: VideoJob,
): NotificationMessage {
  const { notificationId, deliveryNumber, notificationType, recipientEmail } = notification;
  const { jobId, filename, resultUrl, frameCount, errorMessage } = job;
  const handle = { notificationId, deliveryNumber, notificationType, recipientEmail };
  return { ...handle, jobId, filename, resultUrl, frameCount, errorMessage };
}
