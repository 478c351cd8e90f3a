import { Observable } from 'rxjs';
import type { Subscriber } from 'rxjs';
import type { DataSource } from 'typeorm';
import { JobNotFoundError } from '../../errors.js';
import { JobStatus } from '../../schema/entities/index.js';
import type { VideoJob } from '../../schema/entities/index.js';
import { toJobView } from '../job.view.js';
import type { JobView } from '../job.view.js';
import { JobWatch, NEWEST } from './job.watch.js';
import type { FoundJob, JobWatcher, UserWatcher } from './job.watch.js';

/**
 * How far back a user's new jobs are looked for, in ms, behind the newest that was seen: one that was
 * created in a transaction becomes visible later than it was created.
 */
const LATE_MS = 10_000;

const watches = new WeakMap<DataSource, JobWatch>();
/** Those whose application has ended. */
const over = new WeakSet<DataSource>();

/** What all watchers of a data source share. */
export function watchOn(dataSource: DataSource, prepared: boolean): JobWatch {
  const watch =
    watches.get(dataSource) ?? new JobWatch(dataSource, prepared, () => over.has(dataSource));
  watches.set(dataSource, watch);
  return watch;
}

/** An application begins to use a data source. */
export const beginWatching = (dataSource: DataSource): void => void over.delete(dataSource);

/**
 * Ends all watchers of a data source, and those that come until another application begins to use it: the
 * application ends, and a browser whose stream has ended comes again by itself.
 */
export function endWatching(dataSource: DataSource): void {
  over.add(dataSource);
  watches.get(dataSource)?.end();
}

const isFinal = ({ status }: VideoJob): boolean =>
  status === JobStatus.COMPLETED || status === JobStatus.FAILED;

/**
 * One job: its present state, then each change, until it is final.
 *
 * @param read - which job, and of which user if it matters; what it throws is the stream's error
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

/** A user's 100 newest jobs and those that come: the present state of each, then its changes. */
export const watchJobs = (watch: JobWatch, read: () => { userId: string }): Observable<JobView> =>
  new Observable((subscriber) => {
    const { userId } = readOr(subscriber, read) ?? {};
    if (userId === undefined) return;
    const jobs = new JobsOfUser(watch, userId, subscriber);
    subscriber.add(() => jobs.leave());
    watch.addUser(jobs);
  });

/** The jobs that one subscriber of `watchJobs` is told of. */
class JobsOfUser implements UserWatcher {
  since: Date | null = null;
  private oldest: FoundJob | undefined;
  /** Those that can still change. */
  private readonly watched = new Map<string, JobWatcher>();
  /** Completed ones, and when they were created: a look may find them once more. */
  private readonly over = new Map<string, Date>();

  constructor(
    private readonly watch: JobWatch,
    readonly userId: string,
    private readonly subscriber: Subscriber<JobView>,
  ) {}

  onFound(jobs: readonly FoundJob[]): void {
    if (this.subscriber.closed) return;
    // The last of the first look is the oldest that is watched.
    if (this.since === null && jobs.length === NEWEST) this.oldest = jobs.at(-1);
    const newest = Math.max(0, ...jobs.map(({ createdAt }) => createdAt.getTime())) - LATE_MS;
    this.since = new Date(Math.max(newest, this.since?.getTime() ?? 0));
    for (const [jobId, createdAt] of this.over) if (createdAt < this.since) this.over.delete(jobId);
    for (const job of jobs) if (!isOlder(job, this.oldest)) this.onCreated(job.jobId);
  }

  onCreated(jobId: string): void {
    if (this.subscriber.closed || this.watched.has(jobId) || this.over.has(jobId)) return;
    const watcher: JobWatcher = {
      onState: (job) => {
        // Whoever may connect to the database can say that a job is this user's.
        if (job.userId !== this.userId) return this.forget(jobId);
        this.subscriber.next(toJobView(job));
        // A failed one may be retried.
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

const isOlder = (job: FoundJob, than: FoundJob | undefined): boolean =>
  than !== undefined &&
  (job.createdAt < than.createdAt ||
    (job.createdAt.getTime() === than.createdAt.getTime() && job.jobId < than.jobId));

function end(subscriber: Subscriber<JobView>, error: unknown): void {
  if (error === undefined) subscriber.complete();
  else subscriber.error(error);
}

/** What was read; undefined if it was refused, which the subscriber is told. */
function readOr<T>(subscriber: Subscriber<JobView>, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    subscriber.error(error);
    return undefined;
  }
}
