import type { DataSource } from 'typeorm';
import { canHeal } from '../../connection/healing.js';
import type { VideoJob } from '../../schema/entities/index.js';
import { SqlRunner } from '../../sql/sql.runner.js';
import { onJobChange } from '../job.changes.js';
import type { ChangedJob } from '../job.changes.js';
import { toJob } from '../job.row.js';
import type { Row } from '../job.row.js';
import { hearChanges } from './change.listener.js';
import { watchedJobs } from './job.watch.sql.js';

/** How often all watched jobs are read, in ms. */
const LOOK_EVERY_MS = 1_000;
/** The least time between two reads of jobs that have changed, in ms. */
const COALESCE_MS = 50;
/** How long one read may take, in ms. The next read is then made on another connection. */
const REPLY_TIMEOUT_MS = 5_000;

/** A watcher of one job. */
export interface JobWatcher {
  onState(job: VideoJob): void;
  onMissing(): void;
  /** @param error - why there is no more to come; undefined when the application ends */
  onEnd(error: unknown): void;
}

/** A watcher of a user's jobs. */
export interface UserWatcher {
  readonly userId: string;
  /** The next read finds jobs after this one. Null before the first read, which finds the newest jobs. */
  readonly after: Pick<FoundJob, 'createdAt' | 'jobId'> | null;
  /** The last read did not find all jobs. */
  readonly isBehind: boolean;
  /**
   * @param jobs - the jobs that a read has found, the oldest first
   * @param at - the time of the read, by the clock of the database
   * @param hasAll - whether it found all jobs
   */
  onFound(jobs: readonly FoundJob[], at: Date, hasAll: boolean): void;
  onCreated(jobId: string): void;
  onEnd(error: unknown): void;
}

/** One of a user's jobs. */
export interface FoundJob {
  readonly jobId: string;
  readonly userId: string;
  readonly createdAt: Date;
}

/** How many of a user's jobs the first read finds. */
export const NEWEST = 100;
/** One read gets the columns of this many jobs, and finds this many new jobs of a user. More jobs wait for the next read. */
const PAGE = 1_000;

/** A job that somebody watches. */
interface Watched {
  /** The state that all watchers of the job know; null if one of them knows none yet. */
  known: string | null;
  /** The state that each watcher got last. */
  readonly watchers: Map<JobWatcher, string | null>;
}

/**
 * Reads the watched jobs for all watchers of this process together. It runs one statement a second, and one
 * as soon as it learns of a change. It never runs two statements at once, so that no watcher gets an older
 * state after a newer one. While the database cannot be reached, it waits. Without watchers it does nothing.
 */
export class JobWatch {
  private readonly jobs = new Map<string, Watched>();
  private readonly users = new Set<UserWatcher>();
  private readonly changed = new Set<string>();
  private readonly db: SqlRunner;
  private timer: NodeJS.Timeout | undefined;
  private isLooking = false;
  private lastLook = -Infinity;
  private nextFullLook = 0;
  /** After a read that failed: no read before this time. */
  private notBefore = 0;
  private isAwake = false;
  private sleep: () => void = () => {};

  /** @param isOver - whether the application has ended; a new watcher then ends at once */
  constructor(
    private readonly dataSource: DataSource,
    prepared: boolean,
    private readonly isOver: () => boolean,
  ) {
    this.db = new SqlRunner(dataSource, prepared, { replyTimeoutMs: REPLY_TIMEOUT_MS });
  }

  addJob(jobId: string, watcher: JobWatcher): void {
    if (this.isOver()) return watcher.onEnd(undefined);
    const watched = this.jobs.get(jobId) ?? { known: null, watchers: new Map() };
    watched.known = null;
    watched.watchers.set(watcher, null);
    this.jobs.set(jobId, watched);
    this.changed.add(jobId);
    this.wakeUp();
  }

  removeJob(jobId: string, watcher: JobWatcher): void {
    const watched = this.jobs.get(jobId);
    watched?.watchers.delete(watcher);
    if (watched?.watchers.size === 0) this.jobs.delete(jobId);
    this.restIfAlone();
  }

  addUser(watcher: UserWatcher): void {
    if (this.isOver()) return watcher.onEnd(undefined);
    this.users.add(watcher);
    this.wakeUp();
  }

  removeUser(watcher: UserWatcher): void {
    this.users.delete(watcher);
    this.restIfAlone();
  }

  /** Ends all watchers. @param error - the reason; undefined when the application ends */
  end(error?: unknown): void {
    const all = [
      ...this.users,
      ...[...this.jobs.values()].flatMap((one) => [...one.watchers.keys()]),
    ];
    this.users.clear();
    this.jobs.clear();
    this.restIfAlone();
    for (const watcher of all) watcher.onEnd(error);
  }

  private wakeUp(): void {
    if (!this.isAwake) {
      this.isAwake = true;
      this.nextFullLook = performance.now() + LOOK_EVERY_MS;
      const onChange = (jobs: readonly ChangedJob[]): void => this.note(jobs);
      const lookAtAll = (): void => {
        this.nextFullLook = 0;
        this.schedule();
      };
      const ends = [
        onJobChange(this.dataSource, ({ jobs }) => onChange(jobs)),
        hearChanges(this.dataSource, onChange, lookAtAll),
      ];
      this.sleep = () => {
        for (const end of ends) end();
      };
    }
    this.schedule();
  }

  private restIfAlone(): void {
    if (!this.isAwake || this.jobs.size > 0 || this.users.size > 0) return;
    this.isAwake = false;
    clearTimeout(this.timer);
    this.changed.clear();
    this.sleep();
  }

  private note(jobs: readonly ChangedJob[]): void {
    for (const { jobId, userId } of jobs) {
      if (userId !== undefined) {
        for (const user of this.users) if (user.userId === userId) user.onCreated(jobId);
      }
      if (this.jobs.has(jobId)) this.changed.add(jobId);
    }
    if (this.changed.size > 0) this.schedule();
  }

  private schedule(): void {
    if (this.isLooking || !this.isAwake) return;
    clearTimeout(this.timer);
    const isUrgent = this.changed.size > 0 || [...this.users].some(({ isBehind }) => isBehind);
    const soon = isUrgent ? this.lastLook + COALESCE_MS : Infinity;
    const next = Math.max(Math.min(soon, this.nextFullLook), this.notBefore);
    const waitMs = next - performance.now();
    this.timer = setTimeout(() => void this.look(), Math.max(waitMs, 0));
  }

  private async look(): Promise<void> {
    const now = performance.now();
    const isFull = now >= this.nextFullLook;
    if (isFull) this.nextFullLook = now + LOOK_EVERY_MS;
    this.lastLook = now;
    const jobs = isFull
      ? new Map(this.jobs)
      : new Map([...this.jobs].filter(([jobId]) => this.changed.has(jobId)));
    const users = [...this.users].filter(({ isBehind }) => isFull || isBehind);
    this.changed.clear();
    this.isLooking = true;
    try {
      if (jobs.size > 0 || users.length > 0) await this.ask(jobs, users);
    } catch (error) {
      if (!this.dataSource.isInitialized) this.end();
      else if (canHeal(error))
        this.nextFullLook = this.notBefore = performance.now() + LOOK_EVERY_MS;
      else this.end(error);
    } finally {
      this.isLooking = false;
      this.schedule();
    }
  }

  private async ask(
    jobs: ReadonlyMap<string, Watched>,
    users: readonly UserWatcher[],
  ): Promise<void> {
    const rows = await this.db.run<Row>('Watching jobs', watchedJobs, [
      [...jobs.keys()],
      [...jobs.values()].map(({ known }) => known),
      users.map(({ userId }) => userId),
      users.map(({ after }) => after?.createdAt.toISOString() ?? null),
      users.map(({ after }) => after?.jobId ?? null),
      NEWEST,
      PAGE,
    ]);
    const found = users.map((): FoundJob[] => []);
    let at = new Date(0);
    for (const row of rows) {
      if (row['kind'] === 'now') at = row['createdAt'] as Date;
      else if (row['kind'] === 'found') found[(row['entry'] as number) - 1]?.push(row as never);
      else this.publish(row, jobs);
    }
    for (const [index, user] of users.entries()) {
      // Some watchers have left meanwhile.
      if (!this.users.has(user)) continue;
      const ofUser = (found[index] ?? []).toSorted(inOrder);
      user.onFound(ofUser, at, user.after === null || ofUser.length < PAGE);
    }
  }

  /** @param row - a job whose state differs from the state that was known when the read began */
  private publish(row: Row, jobs: ReadonlyMap<string, Watched>): void {
    const jobId = row['jobId'] as string;
    const watched = jobs.get(jobId);
    const state = row['state'] as string | null;
    if (watched === undefined) return;
    // The answer had no room for its columns. The next read gets them.
    if (state !== null && row['status'] === null) return void this.changed.add(jobId);
    watched.known = state;
    // While one watcher gets the state, others may leave or come.
    for (const [watcher, told] of watched.watchers) {
      if (told !== null && told === state) continue;
      watched.watchers.set(watcher, state);
      if (state === null) watcher.onMissing();
      else watcher.onState(toJob(row));
    }
  }
}

/** Compares two jobs by the order in which they are found. */
export const inOrder = (a: FoundJob, b: FoundJob): number =>
  a.createdAt.getTime() - b.createdAt.getTime() || (a.jobId < b.jobId ? -1 : 1);
