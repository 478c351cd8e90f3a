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

/** How often all that is watched is looked at, in ms. */
const LOOK_EVERY_MS = 1_000;
/** The least time, in ms, between two looks at jobs that are known to have changed. */
const COALESCE_MS = 50;
/** How long a look may take, in ms, before the next is made on another connection. */
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
  /** Behind which job of the user the next look begins; null for the first look, which finds the newest. */
  readonly after: Pick<FoundJob, 'createdAt' | 'jobId'> | null;
  /** There is more to find than the last look did. */
  readonly isBehind: boolean;
  /**
   * @param jobs - what a look has found, the oldest first
   * @param at - when that was, by the clock of the database
   * @param hasAll - whether it found all there was
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

/** How many of a user's jobs are looked for at first. */
export const NEWEST = 100;
/** Of how many jobs one look gets the columns, and how many new ones of a user it finds; more have to wait. */
const PAGE = 1_000;

/** A job that somebody watches. */
interface Watched {
  /** The state that all of its watchers know; null if one knows none. */
  known: string | null;
  /** What each was told last. */
  readonly watchers: Map<JobWatcher, string | null>;
}

/**
 * Looks at what is watched in this process, for all watchers together: one statement a second, and one as
 * soon as something is known to have changed. Statements follow each other, so that no watcher is told an
 * older state after a newer one. A database that is away is waited for. Without watchers it does nothing.
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
  /** After a look that failed: when to make the next. */
  private notBefore = 0;
  private isAwake = false;
  private sleep: () => void = () => {};

  /** @param isOver - whether the application has ended, so that who comes is sent away at once */
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

  /** Ends all watchers. @param error - why; undefined when the application ends */
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
      // Some have left meanwhile.
      if (!this.users.has(user)) continue;
      const ofUser = (found[index] ?? []).toSorted(inOrder);
      user.onFound(ofUser, at, user.after === null || ofUser.length < PAGE);
    }
  }

  /** @param row - a job that is not as it was known when the look began */
  private publish(row: Row, jobs: ReadonlyMap<string, Watched>): void {
    const jobId = row['jobId'] as string;
    const watched = jobs.get(jobId);
    const state = row['state'] as string | null;
    if (watched === undefined) return;
    // There was no room for its columns: they come with the next look.
    if (state !== null && row['status'] === null) return void this.changed.add(jobId);
    watched.known = state;
    // What one is told may make another leave or come.
    for (const [watcher, told] of watched.watchers) {
      if (told !== null && told === state) continue;
      watched.watchers.set(watcher, state);
      if (state === null) watcher.onMissing();
      else watcher.onState(toJob(row));
    }
  }
}

/** In the order in which jobs are found. */
export const inOrder = (a: FoundJob, b: FoundJob): number =>
  a.createdAt.getTime() - b.createdAt.getTime() || (a.jobId < b.jobId ? -1 : 1);
