import { JobStatus } from '../schema/entities/index.js';
import type { NotificationLog, VideoJob } from '../schema/entities/index.js';

/**
 * A job as an API shows it to the user who owns it. It has no worker, no lease and no other column of
 * the queue. Where `@nestjs/swagger` is installed, it documents every property.
 */
export class JobView {
  /** The id of the job. */
  jobId!: string;
  /** The id of the user whose job it is. */
  userId!: string;
  /** The name of the video's file. */
  filename!: string;
  /** Where the job is in its life. */
  status!: JobStatus;
  /** Where the video is. */
  videoUrl!: string;
  /** Where the extracted frames are; null until the job is completed. */
  resultUrl!: string | null;
  /** How many frames were extracted; null until the job is completed. */
  frameCount!: number | null;
  /** Why the latest run failed; null when none did, and after the job was completed. */
  errorMessage!: string | null;
  /** How far the latest run has come, from 0 to 100 percent; null before the first run. */
  progress!: number | null;
  /** The latest message about the progress of the latest run; null if there is none. */
  progressMessage!: string | null;
  /** What the handler should do, in the application's own form. */
  parameters!: Record<string, unknown> | null;
  /** Further results, in the application's own form. */
  output!: Record<string, unknown> | null;
  /** When the job was created. */
  createdAt!: Date;
  /** When the latest run started; null while the job waits. */
  startedAt!: Date | null;
  /** When the job was completed or failed; null before. */
  completedAt!: Date | null;
  /** When the job was cancelled; null when it was not. */
  cancelledAt!: Date | null;

  /** Read by `@nestjs/swagger`, in the form that its compiler plugin writes. */
  static _OPENAPI_METADATA_FACTORY(): Record<keyof JobView, object> {
    const nullable = { required: true, nullable: true };
    const date = { type: () => Date };
    const json = { type: () => Object };
    return {
      jobId: { required: true, type: () => String, format: 'uuid' },
      userId: { required: true, type: () => String, format: 'uuid' },
      filename: { required: true, type: () => String },
      status: { required: true, enum: Object.values(JobStatus) },
      videoUrl: { required: true, type: () => String },
      resultUrl: { ...nullable, type: () => String },
      frameCount: { ...nullable, type: () => Number },
      errorMessage: { ...nullable, type: () => String },
      progress: { ...nullable, type: () => Number, minimum: 0, maximum: 100 },
      progressMessage: { ...nullable, type: () => String },
      parameters: { ...nullable, ...json },
      output: { ...nullable, ...json },
      createdAt: { required: true, ...date },
      startedAt: { ...nullable, ...date },
      completedAt: { ...nullable, ...date },
      cancelledAt: { ...nullable, ...date },
    };
  }
}

/** The part of a notification that describes the end of a job. */
type End = Pick<NotificationLog, 'notificationType' | 'runNumber' | 'createdAt'>;

/**
 * Converts a job into the form that an API may show to its user, as the job was when the notification was
 * written. A failed job may have been retried since then. Values of the failed run are then unknown, and null.
 */
export function toJobViewAt(
  job: VideoJob,
  { notificationType, runNumber, createdAt }: End,
): JobView {
  const view = toJobView(job);
  const status = notificationType === 'success' ? JobStatus.COMPLETED : JobStatus.FAILED;
  if (job.status === status && job.runNumber === (runNumber ?? job.runNumber)) return view;
  view.status = status;
  view.completedAt = createdAt;
  view.startedAt = view.cancelledAt = view.errorMessage = null;
  view.progress = view.progressMessage = null;
  view.resultUrl = view.frameCount = view.output = null;
  return view;
}

/** Converts a job into the form that an API may show to the job's user. */
export function toJobView(job: VideoJob): JobView {
  const view = new JobView();
  view.jobId = job.jobId;
  view.userId = job.userId;
  view.filename = job.filename;
  view.status = job.status;
  view.videoUrl = job.videoUrl;
  view.resultUrl = job.resultUrl;
  view.frameCount = job.frameCount;
  view.errorMessage = job.errorMessage;
  view.progress = job.progress;
  view.progressMessage = job.progressMessage;
  view.parameters = job.parameters;
  view.output = job.output;
  view.createdAt = job.createdAt;
  view.startedAt = job.startedAt;
  view.completedAt = job.completedAt;
  view.cancelledAt = job.cancelledAt;
  return view;
}
