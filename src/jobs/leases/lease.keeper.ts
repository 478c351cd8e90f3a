import { JobCancelledError } from '../../errors.js';
import type { VideoJob } from '../../schema/entities/index.js';
import type { SqlRunner } from '../../sql/sql.runner.js';
import { extendLeases } from '../job.claiming.js';
import type { JobHandle } from '../job.inputs.js';
import { LazyAbort } from './lazy-abort.js';

/** Callbacks about the extension of leases. */
export interface ExtensionWatch {
  /** The leases were extended. */
  succeeded(): void;
  /** The leases could not be extended. @returns how long to wait before the next try, in ms; at most a tenth of a lease */
  failed(error: unknown): number;
  /** No lease is left to extend. */
  forget(): void;
}

/**
 * The `reason` of an aborted signal: the lease was lost, or the process shuts down. If the lease could not be
 * extended, `cause` says why.
 */
export class LeaseEndedError extends Error {
  static {
    this.prototype.name = 'LeaseEndedError';
  }
}

/** The lease of one job in this process. */
export class Lease {
  readonly abort = new LazyAbort();
  /** The outcome is being written. From now on only the row in the database says who holds the job. */
  settling = false;
  /** The process shuts down, and gives the job back. */
  released = false;
  /** The job was cancelled or deleted. */
  cancelled = false;
  /** Why the lease could not be extended in time, if this process was too busy. */
  overslept: string | undefined;

  /** The progress that was last written. */
  progress: { readonly percent: number; readonly message: string | undefined } | undefined;

  /** The frozen handle of the run. A handler can change its job object, but not this handle. */
  readonly run: Readonly<JobHandle & Pick<VideoJob, 'attempts'>>;
  /** Its index in the list of kept leases; -1 if it is not in the list. */
  place = -1;

  /** @param deadline - when the lease ends, on this process's monotonic clock */
  constructor(
    readonly job: VideoJob,
    public deadline: number,
  ) {
    const { jobId, runNumber, workerId, attempts } = job;
    this.run = Object.freeze({ jobId, runNumber, workerId, attempts });
  }

  /** Whether the lease is still held, as far as this process knows. */
  get isHeld(): boolean {
    return Number.isFinite(this.deadline) && performance.now() < this.deadline;
  }
}

/** How many leases one statement extends. */
const BATCH = 1_000;

/**
 * Holds the leases of all jobs that this process works on. Every third of a lease, one statement extends up to a
 * thousand leases. It uses its own connection, so neither a full pool nor a slow transaction of a handler delays it.
 * A lease whose row is locked keeps its deadline. It is tried again after a tenth of its time.
 *
 * The end of a lease is measured with this process's monotonic clock, from before the statement that granted it was
 * sent. So, whatever the network and the clocks do, a lease ends here before another worker can get it.
 */
export class LeaseKeeper {
  /** The leases that are still held, as far as this process knows. */
  readonly leases: Lease[] = [];
  private timer: NodeJS.Timeout | undefined;
  /** Its connection is in use. */
  private isBusy = false;
  private turn: Promise<unknown> = Promise.resolve();
  private nextExtension = 0;
  /** The error of the last extension, if it failed. */
  private failure: unknown;
  /** When the timer should fire, on the monotonic clock. */
  private due = Infinity;
  /** Leases to try again before the next regular extension. Their rows were locked, or somebody asks about them. */
  private passedOver: Lease[] = [];
  /** When to try them again. */
  private nextRetry = Infinity;
  /** Whether somebody asks about a lease and does not want to wait. */
  private isAsked = false;

  /** @param db - runs the statements on its own connections */
  constructor(
    private readonly db: SqlRunner,
    private readonly leaseMs: number,
    private readonly extendingLeases: ExtensionWatch,
    private readonly onLost: (lease: Lease) => void,
  ) {}

  /** @param sentAt - `performance.now()` before the claim was sent */
  add(jobs: readonly VideoJob[], sentAt: number): Lease[] {
    if (this.leases.length === 0) this.nextExtension = sentAt + this.leaseMs / 3;
    // If this process claims a job that it holds already, it has lost the earlier run.
    const again = new Map(
      jobs.filter(({ runNumber }) => runNumber > 1).map((job) => [job.jobId, job.runNumber]),
    );
    const isOver = ({ run }: Lease): boolean => run.runNumber < (again.get(run.jobId) ?? 0);
    if (again.size > 0) for (const lease of this.leases.filter(isOver)) this.expire(lease);
    const leases = jobs.map((job) => new Lease(job, sentAt + this.leaseMs));
    for (const lease of leases) lease.place = this.leases.push(lease) - 1;
    this.schedule();
    return leases;
  }

  /** Runs a statement on its connection, when no lease is being extended. */
  async beside(work: () => Promise<void>): Promise<void> {
    while (this.isBusy) await this.turn.catch(() => {});
    this.isBusy = true;
    const turn = work();
    this.turn = turn;
    try {
      await turn;
    } finally {
      this.isBusy = false;
      this.schedule();
    }
  }

  /** Asks the database at once whether a job is still held. */
  check(jobId: string): void {
    const leases = this.leases.filter(({ run }) => run.jobId === jobId);
    if (leases.length === 0) return;
    this.passedOver.push(...leases);
    this.isAsked = true;
    this.nextRetry = 0;
    this.schedule();
  }

  /** Asks the database at once about all jobs, because messages about them may have been missed. */
  checkAll(): void {
    this.nextExtension = 0;
    this.schedule();
  }

  /** Stops keeping a lease. The write about the job ends the lease itself. */
  remove(lease: Lease): void {
    const { place } = lease;
    if (place === -1) return;
    // The last lease of the list takes its index. The order of the list does not matter.
    const last = this.leases.pop() as Lease;
    if (last !== lease) this.leases[place] = last;
    last.place = place;
    lease.place = -1;
    if (this.leases.length === 0) this.clear();
  }

  /** Stops extending all leases. */
  clear(): void {
    for (const lease of this.leases.splice(0)) lease.place = -1;
    this.passedOver = [];
    clearTimeout(this.timer);
    this.extendingLeases.forget();
  }

  /** Wakes up for the next extension or the next lease that ends, whichever is first. */
  private schedule(): void {
    clearTimeout(this.timer);
    if (this.leases.length === 0) return;
    let next = this.isBusy ? Infinity : Math.min(this.nextExtension, this.nextRetry);
    for (const { deadline } of this.leases) next = Math.min(next, deadline);
    this.due = next;
    if (next === Infinity) return;
    // A reply that has arrived meanwhile is read before the leases are checked, because it may have extended them.
    const tick = (): unknown => setImmediate(() => this.tick());
    this.timer = setTimeout(tick, Math.max(next - performance.now(), 0));
  }

  private tick(): void {
    const now = performance.now();
    for (const lease of this.leases.filter(({ deadline }) => now >= deadline)) this.expire(lease);
    if (!this.isBusy && this.leases.length > 0) {
      if (now >= this.nextExtension) this.turn = this.extend();
      else if (now >= this.nextRetry) this.turn = this.extend(this.passedOver);
    }
    this.schedule();
  }

  /** @param passedOver - extends only these leases; all leases if left out */
  private async extend(passedOver?: Lease[]): Promise<void> {
    const leases = [...new Set(passedOver ?? this.leases)].filter(({ place }) => place !== -1);
    const startedAt = performance.now();
    this.isBusy = true;
    this.passedOver = [];
    this.isAsked = false;
    try {
      for (let done = 0; done < leases.length; done += BATCH) {
        await this.extendBatch(leases.slice(done, done + BATCH));
      }
      this.failure = undefined;
      this.extendingLeases.succeeded();
      if (passedOver === undefined) this.nextExtension = startedAt + this.leaseMs / 3;
    } catch (error) {
      this.failure = error;
      const wait = Math.min(this.extendingLeases.failed(error), this.leaseMs / 10);
      this.nextExtension = performance.now() + wait;
      if (this.leases.length === 0) this.extendingLeases.forget();
    } finally {
      this.isBusy = false;
      const wait = this.isAsked ? 0 : this.leaseMs / 10;
      this.nextRetry = this.passedOver.length > 0 ? performance.now() + wait : Infinity;
      this.schedule();
    }
  }

  private async extendBatch(leases: readonly Lease[]): Promise<void> {
    const sentAt = performance.now();
    const handles = leases.map(({ run }) => run);
    const answer = await extendLeases(this.db, handles, this.leaseMs);
    const states = new Map(answer.map((state) => [keyOf(state), state]));
    for (const lease of leases) {
      const state = states.get(keyOf(lease.run));
      if (state === undefined) this.expire(lease);
      else if (state.cancelled || state.deleted) this.cancelled(lease, state.deleted);
      else if (state.extended) lease.deadline = sentAt + this.leaseMs;
      else this.passedOver.push(lease);
    }
  }

  private cancelled(lease: Lease, isDeleted: boolean): void {
    lease.cancelled = true;
    this.expire(lease, new JobCancelledError(lease.run.jobId, lease.run.runNumber, isDeleted));
  }

  /** Ends a lease here. A handler that ignores the aborted signal runs on, but its outcome is refused. */
  private expire(lease: Lease, reason?: Error): void {
    if (lease.place === -1) return;
    lease.overslept = reason === undefined ? this.overslept() : undefined;
    if (lease.settling) {
      lease.deadline = Infinity;
      return;
    }
    this.remove(lease);
    lease.abort.abort(reason ?? leaseEnded(lease, this.failure));
    this.onLost(lease);
  }

  /**
   * The text for the case that the timer of this process was so late that leases ended. Other processes see
   * only that the worker was lost.
   */
  private overslept(): string | undefined {
    const lateMs = Math.round(performance.now() - this.due);
    if (lateMs < this.leaseMs / 3) return undefined;
    return (
      `the event loop of this process was blocked, or the process was stopped, for ${lateMs} ms or ` +
      `more: let a handler do what takes long on the processor in a worker thread or a child process`
    );
  }
}

const leaseEnded = ({ run: { runNumber, jobId }, overslept }: Lease, cause: unknown): Error =>
  new LeaseEndedError(
    `The lease of run ${runNumber} of job ${jobId} has ended${overslept === undefined ? '' : `: ${overslept}`}.`,
    cause === undefined ? {} : { cause },
  );

/** Two runs of a job may be kept in one process. */
const keyOf = ({ jobId, runNumber }: { jobId: string; runNumber: number }): string =>
  `${jobId} ${runNumber}`;
