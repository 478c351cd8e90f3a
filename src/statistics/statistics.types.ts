// Not from the entities' index: the console's pages are compiled with these types, and without TypeORM.
import type { JobStatus } from '../schema/entities/job-status.js';
import type { DeliveryStatus } from '../schema/entities/notification-status.js';

/** How many rows there are: exact up to 10,000. */
export interface BoundedCount {
  /** How many there are, up to 10,000. */
  readonly count: number;
  /** There are more than `count`. */
  readonly more: boolean;
}

/** Rows that are due, and since when the first of them is; null when none is. */
export interface Due extends BoundedCount {
  /** Since when the first of them is due; null when none is. */
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

/** What all workers did in a step of time. */
export interface WorkPoint {
  /** The begin of the step. */
  readonly at: Date;
  /** How many runs were completed. */
  readonly completed: number;
  /** How many jobs failed for good. */
  readonly failed: number;
  /** How many runs failed, and are tried again. */
  readonly retried: number;
  /** How many notifications were delivered. */
  readonly delivered: number;
  /** How many deliveries failed, for good or to be tried again. */
  readonly undelivered: number;
  /** For how long the jobs that were started had been due. */
  readonly waited: Times;
  /** How long the runs took that ended. */
  readonly ran: Times;
  /** More than 20,000 reports are of this step: it is worked out from those of some of its minutes. */
  readonly isEstimated: boolean;
}

/** A worker process that reported within the last three minutes. */
export interface WorkerSeen {
  /** The worker, unique to one process incarnation; null where there is none. */
  readonly workerId: string;
  /** When it started; null where it has not. */
  readonly startedAt: Date;
  /** The minute of its last report. */
  readonly lastSeen: Date;
  /** How many jobs it can run at once. */
  readonly places: number;
  /** How many jobs it ran when it last reported. */
  readonly running: number;
}

/** How the queue of jobs stands. */
export interface JobFigures {
  /** How many there are of each status. */
  readonly counts: Readonly<Record<JobStatus, BoundedCount>>;
  /** The pending jobs that may be claimed. */
  readonly due: Due;
  /** The jobs whose leases are over: the next claim takes them. */
  readonly lost: Due;
}

/** How the queue of notifications stands. */
export interface NotificationFigures {
  /** How many there are of each status. */
  readonly counts: Readonly<Record<DeliveryStatus, BoundedCount>>;
  /** Those that are pending and may be claimed. */
  readonly due: Due;
}

/** What the console's first page shows. */
export interface Overview {
  /** The database's time. */
  readonly at: Date;
  /** The queue of jobs. */
  readonly jobs: JobFigures;
  /** The queue of notifications. */
  readonly notifications: NotificationFigures;
  /** The workers that are at work. */
  readonly workers: readonly WorkerSeen[];
  /** Since when no job is claimed, and why; null while jobs are. */
  readonly paused: {
    /** Since when. */
    readonly since: Date;
    /** Why, in the words of whoever did it. */
    readonly reason: string | null;
  } | null;
  /** A point for each of the last 60 minutes. */
  readonly lastHour: readonly WorkPoint[];
  /** All of the last hour together. */
  readonly hour: WorkPoint;
  /** A point for each of the last 168 hours. */
  readonly lastWeek: readonly WorkPoint[];
}

/** What the database is, compared with what this release needs. */
export interface SchemaState {
  /** Migrations of this release that have not run. */
  readonly pendingMigrations: readonly string[];
  /** Migrations of a newer release of this package. */
  readonly unknownMigrations: readonly string[];
  /** In words, what differs from the entities; null where this role may not look. */
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
  /** When it started; null where it has not. */
  readonly startedAt: Date | null;
  /** When it was completed or failed; null before. */
  readonly completedAt: Date | null;
  /** From when on it may be claimed; of what is at work, the end of the lease. */
  readonly availableAt: Date;
  /** The number of the run; null in rows of older services. */
  readonly runNumber: number;
  /** The worker, unique to one process incarnation; null where there is none. */
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
  /** What it tells: `success` or `failure`. */
  readonly notificationType: string;
  /** The address that it goes to. */
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
  /** From when on it may be claimed; of what is at work, the end of the lease. */
  readonly availableAt: Date;
  /** The number of the latest delivery. */
  readonly deliveryNumber: number;
  /** The number of the run; null in rows of older services. */
  readonly runNumber: number | null;
}

/** What a search has found. */
export interface Found<T> {
  /** What was found. */
  readonly found: readonly T[];
  /** What to pass as `cursor` to go on; null at the end. */
  readonly nextCursor: string | null;
  /**
   * The search has looked at 20,000 rows and stopped there: it goes on with `nextCursor`. The time of the
   * last row that it looked at; null when it was not stopped.
   */
  readonly stoppedAt: Date | null;
}

/** All that there is of a job. */
export interface JobInFull extends FoundJob {
  /** Where the video is. */
  readonly videoUrl: string;
  /** Where the frames are; null until the job is completed. */
  readonly resultUrl: string | null;
  /** How many frames there are; null until the job is completed. */
  readonly frameCount: number | null;
  /** What the latest run last said of its progress. */
  readonly progressMessage: string | null;
  /** What to do, as the application defines it. */
  readonly parameters: unknown;
  /** What came of it, as the application defines it. */
  readonly output: unknown;
}

/** A run of a job that failed or was lost. */
export interface FailedRun {
  /** The number of the run; null in rows of older services. */
  readonly runNumber: number;
  /** The worker, unique to one process incarnation; null where there is none. */
  readonly workerId: string | null;
  /** Why it failed; null when it did not. */
  readonly errorMessage: string;
  /** When it was created. */
  readonly createdAt: Date;
}

/** A notification, on the page of its job. */
export type NotificationOfJob = Omit<FoundNotification, 'filename'>;

/** A job with all that is known of its life. */
export interface JobLife {
  /** The job. */
  readonly job: JobInFull;
  /** The latest 200, the newest first. */
  readonly failedRuns: readonly FailedRun[];
  /** The latest 200, the newest first. */
  readonly notifications: readonly NotificationOfJob[];
}

/** A user, as far as an operator has to know one. */
export interface UserSeen {
  /** The id of the user. */
  readonly userId: string;
  /** The name of the user. */
  readonly username: string;
  /** The e-mail address of the user. */
  readonly email: string;
}
