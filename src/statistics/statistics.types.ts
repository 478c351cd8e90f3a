// These imports avoid the entities' index, because the console's pages are compiled with these types and without TypeORM.
import type { JobStatus } from '../schema/entities/job-status.js';
import type { DeliveryStatus } from '../schema/entities/notification-status.js';

/** How many rows there are: exact up to 10,000. */
export interface BoundedCount {
  /** The number of rows, up to 10,000. */
  readonly count: number;
  /** Whether there are more rows than `count`. */
  readonly more: boolean;
}

/** The number of rows that are due, and since when the first of them is due. */
export interface Due extends BoundedCount {
  /** Since when the first row is due; null if no row is due. */
  readonly oldest: Date | null;
}

/** Times in ms; null if none was measured. Percentiles are bounds of the histogram's buckets. */
export interface Times {
  /** The mean. */
  readonly mean: number | null;
  /** The median. */
  readonly median: number | null;
  /** The 95th percentile. */
  readonly p95: number | null;
}

/** The work of all workers in a step of time. */
export interface WorkPoint {
  /** The begin of the step. */
  readonly at: Date;
  /** How many runs were completed. */
  readonly completed: number;
  /** How many jobs failed for good. */
  readonly failed: number;
  /** How many runs failed and will be tried again. */
  readonly retried: number;
  /** How many notifications were delivered. */
  readonly delivered: number;
  /** How many deliveries failed, for good or with another try. */
  readonly undelivered: number;
  /** How long started jobs had been due before they started. */
  readonly waited: Times;
  /** How long ended runs took. */
  readonly ran: Times;
  /** Whether the numbers are estimated: there were more than 20,000 reports, so only some minutes were read. */
  readonly isEstimated: boolean;
}

/** A worker process that reported within the last three minutes. */
export interface WorkerSeen {
  /** The id of the worker, unique to one process incarnation. */
  readonly workerId: string;
  /** When the worker started. */
  readonly startedAt: Date;
  /** The minute of its last report. */
  readonly lastSeen: Date;
  /** How many jobs the worker can run at once. */
  readonly places: number;
  /** How many jobs the worker was running when it last reported. */
  readonly running: number;
}

/** The state of the queue of jobs. */
export interface JobFigures {
  /** The number of rows of each status. */
  readonly counts: Readonly<Record<JobStatus, BoundedCount>>;
  /** The pending jobs that may be claimed. */
  readonly due: Due;
  /** The jobs whose leases have ended. The next claim takes them. */
  readonly lost: Due;
}

/** The state of the queue of notifications. */
export interface NotificationFigures {
  /** The number of rows of each status. */
  readonly counts: Readonly<Record<DeliveryStatus, BoundedCount>>;
  /** The pending notifications that may be claimed. */
  readonly due: Due;
}

/** The data of the console's first page. */
export interface Overview {
  /** The time of the database. */
  readonly at: Date;
  /** The queue of jobs. */
  readonly jobs: JobFigures;
  /** The queue of notifications. */
  readonly notifications: NotificationFigures;
  /** The workers that reported within the last three minutes. */
  readonly workers: readonly WorkerSeen[];
  /** The pause of processing; null if processing is not paused. */
  readonly paused: {
    /** Since when processing is paused. */
    readonly since: Date;
    /** The reason that the caller of `pauseProcessing` gave; null if none. */
    readonly reason: string | null;
  } | null;
  /** A point for each of the last 60 minutes. The last one is the current minute, up to now. */
  readonly lastHour: readonly WorkPoint[];
  /** The sum of the last hour. */
  readonly hour: WorkPoint;
  /** A point for each of the last 168 hours. The last one is the current hour, up to now. */
  readonly lastWeek: readonly WorkPoint[];
}

/** The schema of the database, compared with the needs of this release. */
export interface SchemaState {
  /** Migrations of this release that have not run. */
  readonly pendingMigrations: readonly string[];
  /** Migrations of a newer release of this package. */
  readonly unknownMigrations: readonly string[];
  /** Descriptions of the differences from the entities; null if this role has no right to compare. */
  readonly drift: readonly string[] | null;
}

/** A job that a search has found. */
export interface FoundJob {
  /** The id of the job. */
  readonly jobId: string;
  /** The id of the user. */
  readonly userId: string;
  /** The name of the user. */
  readonly username: string;
  /** The e-mail address of the user. */
  readonly email: string;
  /** The name of the video's file. */
  readonly filename: string;
  /** Where the job is in its life. */
  readonly status: JobStatus;
  /** Why it failed; null when it did not. */
  readonly errorMessage: string | null;
  /** When it was created. */
  readonly createdAt: Date;
  /** When it started; null if it has not started. */
  readonly startedAt: Date | null;
  /** When it was completed or failed; null before. */
  readonly completedAt: Date | null;
  /** The time from which it may be claimed: when it is due, or when its lease ends. */
  readonly availableAt: Date;
  /** The number of the run. */
  readonly runNumber: number;
  /** The worker, unique to one process incarnation; null if there is none. */
  readonly workerId: string | null;
  /** How often it was tried. */
  readonly attempts: number;
  /** How far the latest run has come, in percent; null before the first one. */
  readonly progress: number | null;
  /** When it was cancelled; null when it was not. */
  readonly cancelledAt: Date | null;
}

/** A notification that a search has found. */
export interface FoundNotification {
  /** The id of the notification. */
  readonly notificationId: string;
  /** The id of the job. */
  readonly jobId: string;
  /** The name of the video's file. */
  readonly filename: string;
  /** The type of the notification: `success` or `failure`. */
  readonly notificationType: string;
  /** The address to which it is sent. */
  readonly recipientEmail: string;
  /** Where the notification is in its life. */
  readonly deliveryStatus: DeliveryStatus;
  /** How many deliveries failed. */
  readonly retryCount: number;
  /** Why it failed; null when it did not. */
  readonly errorMessage: string | null;
  /** When it was created. */
  readonly createdAt: Date;
  /** When it was sent; null before. */
  readonly sentAt: Date | null;
  /** The time from which it may be claimed: when it is due, or when its lease ends. */
  readonly availableAt: Date;
  /** The number of the latest delivery. */
  readonly deliveryNumber: number;
  /** The number of the run; null in rows of older services. */
  readonly runNumber: number | null;
}

/** The result of a search. */
export interface Found<T> {
  /** The rows of this page. */
  readonly found: readonly T[];
  /** What to pass as `cursor` for the next page; null at the end. */
  readonly nextCursor: string | null;
  /**
   * If the search stopped after 20,000 rows, the time of the last row that it looked at. The next call with
   * `nextCursor` goes on from there. Null if the search did not stop.
   */
  readonly stoppedAt: Date | null;
}

/** A job with all values that the console shows. */
export interface JobInFull extends FoundJob {
  /** Where the video is. */
  readonly videoUrl: string;
  /** Where the frames are; null until the job is completed. */
  readonly resultUrl: string | null;
  /** How many frames there are; null until the job is completed. */
  readonly frameCount: number | null;
  /** The latest message about the progress of the latest run; null if there is none. */
  readonly progressMessage: string | null;
  /** What the handler should do, in the application's own form. */
  readonly parameters: unknown;
  /** Further results, in the application's own form. */
  readonly output: unknown;
}

/** A run of a job that failed, or whose worker was lost. */
export interface FailedRun {
  /** The number of the run. */
  readonly runNumber: number;
  /** The worker, unique to one process incarnation; null if there is none. */
  readonly workerId: string | null;
  /** Why the run failed. */
  readonly errorMessage: string;
  /** When the failure was recorded. */
  readonly createdAt: Date;
}

/** A notification, on the page of its job. */
export type NotificationOfJob = Omit<FoundNotification, 'filename'>;

/** A job with its failed runs and its notifications. */
export interface JobLife {
  /** The job. */
  readonly job: JobInFull;
  /** The latest 200 failed runs, newest first. */
  readonly failedRuns: readonly FailedRun[];
  /** The latest 200 notifications, newest first. */
  readonly notifications: readonly NotificationOfJob[];
}

/** The values of a user that an operator sees. */
export interface UserSeen {
  /** The id of the user. */
  readonly userId: string;
  /** The name of the user. */
  readonly username: string;
  /** The e-mail address of the user. */
  readonly email: string;
}
