import { Observable } from 'rxjs';
import type { Subscriber } from 'rxjs';
import type { DataSource } from 'typeorm';
import { JobNotFoundError } from '../../errors.js';
import { JobStatus } from '../../schema/entities/index.js';
import type { VideoJob } from '../../schema/entities/index.js';
import { toJobView } from '../job.view.js';
import type { JobView } from '../job.view.js';
import { inOrder, JobWatch, NEWEST } from './job.watch.js';
import type { FoundJob, JobWatcher, UserWatcher } from './job.watch.js';

/**
 * How far back in time each read looks for new jobs of a user, in ms. A job that is created in a transaction
 * becomes visible only at the commit, later than its `createdAt`.
 */
const LATE_MS = 10_000;
/** How far back some reads look, in ms, and how often these reads are made, in ms. */
const VERY_LATE_MS = 900_000;
const LOOK_BACK_EVERY_MS = 10_000;

/** Sorts before the ids of all jobs. */
const NO_ID = '00000000-0000-0000-0000-000000000000';

const watches = new WeakMap<DataSource, JobWatch>();
/** Data sources whose application has ended. */
const over = new WeakSet<DataSource>();

/** The `JobWatch` that all watchers of a data source share. */
export function watchOn(dataSource: DataSource, prepared: boolean): JobWatch {
  const watch =
    watches.get(dataSource) ?? new JobWatch(dataSource, prepared, () => over.has(dataSource));
  watches.set(dataSource, watch);
  return watch;
}

/** Allows watchers again: an application begins to use the data source. */
export const beginWatching = (dataSource: DataSource): void => void over.delete(dataSource);

/**
 * Ends all watchers of a data source, because the application ends. New watchers end at once, until another
 * application begins to use the data source. They come because a browser reconnects when its stream ends.
 */
export function endWatching(dataSource: DataSource): void {
  over.add(dataSource);
  watches.get(dataSource)?.end();
}

const isFinal = ({ status }: VideoJob): boolean =>
  status === JobStatus.COMPLETED || status === JobStatus.FAILED;

/**
 * Watches one job: its present state, then each change, until the state is final.
 *
 * @param read - reads which job, and of which user if it matters. If it throws, the stream fails with the error
 */
export const watchJob = (
  watch: JobWatch,
  read: () => { jobId: string; userId?: string | undefined },
): Observable<JobView> =>
  new Observable((subscriber) => {
    const { jobId, userId } = readOr(subscriber, read) ?? {};
    if (jobId === undefined) return;
    const watcher: JobWatcher = {
      onState: (job) => {
        if (userId !== undefined && job.userId !== userId) return watcher.onMissing();
        subscriber.next(toJobView(job));
        if (isFinal(job)) subscriber.complete();
      },
      onMissing: () => subscriber.error(new JobNotFoundError(jobId)),
      onEnd: (error) => end(subscriber, error),
    };
    subscriber.add(() => watch.removeJob(jobId, watcher));
    watch.addJob(jobId, watcher);
  });

/** Watches a user's 100 newest jobs and all later jobs: the present state of each, then its changes. */
export const watchJobs = (watch: JobWatch, read: () => { userId: string }): Observable<JobView> =>
  new Observable((subscriber) => {
    const { userId } = readOr(subscriber, read) ?? {};
    if (userId === undefined) return;
    const jobs = new JobsOfUser(watch, userId, subscriber);
    subscriber.add(() => jobs.leave());
    watch.addUser(jobs);
  });

/** The jobs that one subscriber of `watchJobs` watches. */
class JobsOfUser implements UserWatcher {
  after: UserWatcher['after'] = null;
  isBehind = true;
  /** When the first read of the present round was made, by the clock of the database. A round ends when all is found. */
  private since: Date | undefined;
  private nextLookBack = 0;
  /** The oldest job that the first read found; undefined if the user had fewer jobs than it finds at most. */
  private oldest: FoundJob | undefined;
  /** The jobs that can still change. */
  private readonly watched = new Map<string, JobWatcher>();
  /** Completed jobs, and when they were created. They are kept because a read may find them again. */
  private readonly over = new Map<string, Date>();

  constructor(
    private readonly watch: JobWatch,
    readonly userId: string,
    private readonly subscriber: Subscriber<JobView>,
  ) {}

  onFound(jobs: readonly FoundJob[], at: Date, hasAll: boolean): void {
    if (this.subscriber.closed) return;
    const isFirst = this.after === null;
    if (isFirst && jobs.length === NEWEST) [this.oldest] = jobs;
    for (const job of isFirst ? jobs.toReversed() : jobs) {
      if (this.oldest === undefined || inOrder(job, this.oldest) >= 0) this.onCreated(job.jobId);
    }
    this.since ??= at;
    this.isBehind = !hasAll;
    if (hasAll) this.beginAgain(this.since);
    else this.after = jobs.at(-1) ?? this.after;
  }

  /** Begins the next round of reads. @param since - when the first read of the last round was made */
  private beginAgain(since: Date): void {
    this.since = undefined;
    const now = performance.now();
    const looksBack = now >= this.nextLookBack;
    const createdAt = new Date(since.getTime() - (looksBack ? VERY_LATE_MS : LATE_MS));
    // Jobs before the oldest watched one are not watched, and there may be very many. So they are not read.
    const { oldest } = this;
    this.after =
      oldest !== undefined && oldest.createdAt >= createdAt ? oldest : { createdAt, jobId: NO_ID };
    if (!looksBack) return;
    this.nextLookBack = now + LOOK_BACK_EVERY_MS;
    for (const [jobId, time] of this.over) if (time < createdAt) this.over.delete(jobId);
  }

  onCreated(jobId: string): void {
    if (this.subscriber.closed || this.watched.has(jobId) || this.over.has(jobId)) return;
    const watcher: JobWatcher = {
      onState: (job) => {
        // The job may be another user's: whoever can connect to the database can send a wrong message.
        if (job.userId !== this.userId) return this.forget(jobId);
        this.subscriber.next(toJobView(job));
        // A failed job may be retried, so it is watched on.
        if (job.status !== JobStatus.COMPLETED) return;
        this.forget(jobId);
        this.over.set(jobId, job.createdAt);
      },
      onMissing: () => this.forget(jobId),
      onEnd: (error) => this.onEnd(error),
    };
    this.watched.set(jobId, watcher);
    this.watch.addJob(jobId, watcher);
  }

  onEnd(error: unknown): void {
    end(this.subscriber, error);
  }

  leave(): void {
    this.watch.removeUser(this);
    for (const jobId of this.watched.keys()) this.forget(jobId);
  }

  private forget(jobId: string): void {
    const watcher = this.watched.get(jobId);
    this.watched.delete(jobId);
    if (watcher !== undefined) this.watch.removeJob(jobId, watcher);
  }
}

function end(subscriber: Subscriber<JobView>, error: unknown): void {
  if (error === undefined) subscriber.complete();
  else subscriber.error(error);
}

/** Reads the input. If the read throws, the subscriber gets the error, and this returns undefined. */
function readOr<T>(subscriber: Subscriber<JobView>, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    subscriber.error(error);
    return undefined;
  }
}
