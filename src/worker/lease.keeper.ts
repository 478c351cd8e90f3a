import type { JobService } from '../jobs/job.service.js';
import type { VideoJob } from '../schema/entities/index.js';
import type { Activity } from './outage.watch.js';
import { remove } from './remove.js';

/** Why a lease's signal was aborted. */
export class LeaseEndedError extends Error {
  static {
    this.prototype.name = 'LeaseEndedError';
  }
}

/** The lease of one job in this process. */
export class Lease {
  readonly abort = new AbortController();
  /** The outcome is being written: from here on the row in the database tells who holds the job. */
  settling = false;
  /** The process shuts down, and gives the job back. */
  released = false;

  /** @param deadline - when the lease ends, on this process's monotonic clock */
  constructor(
    readonly job: VideoJob,
    public deadline: number,
  ) {}
}

/**
 * Holds the leases of all jobs that this process works on. One statement extends them all, three times
 * as often as they end, on a connection of its own, which a full pool or a slow transaction of a
 * handler cannot keep from it.
 *
 * A lease ends by this process's monotonic clock, counted from before the statement that granted it was
 * sent: whatever the network and the clocks do, it ends here before anybody else can be granted it.
 */
export class LeaseKeeper {
  /** Those that have not ended, as far as is known here. */
  readonly leases: Lease[] = [];
  private timer: NodeJS.Timeout | undefined;
  private extending = false;
  private nextExtension = 0;

  constructor(
    private readonly jobs: Pick<JobService, 'extendLeases'>,
    private readonly leaseMs: number,
    private readonly extendingLeases: Activity,
    private readonly onLost: (lease: Lease) => void,
  ) {}

  /** @param sentAt - `performance.now()` before the claim was sent */
  hold(jobs: readonly VideoJob[], sentAt: number): Lease[] {
    if (this.leases.length === 0) this.nextExtension = sentAt + this.leaseMs / 3;
    const leases = jobs.map((job) => {
      // Whoever claims a job that it holds has lost the run before.
      if (job.runNumber > 1) this.loseRunsOf(job.jobId);
      return new Lease(job, sentAt + this.leaseMs);
    });
    this.leases.push(...leases);
    this.schedule();
    return leases;
  }

  /** Ends the care for a lease. The lease itself ends by what is written about the job. */
  drop(lease: Lease): void {
    remove(this.leases, lease);
    if (this.leases.length === 0) this.stop();
  }

  /** Lets all leases run out. */
  stop(): void {
    this.leases.length = 0;
    clearTimeout(this.timer);
    this.extendingLeases.forget();
  }

  /** Wakes up for the next extension or the next lease that ends, whichever is first. */
  private schedule(): void {
    clearTimeout(this.timer);
    if (this.leases.length === 0) return;
    let next = this.extending ? Infinity : this.nextExtension;
    for (const { deadline } of this.leases) next = Math.min(next, deadline);
    if (next === Infinity) return;
    // Behind the timer comes what has arrived meanwhile: a reply that extends is read first.
    const tick = (): unknown => setImmediate(() => this.tick());
    this.timer = setTimeout(tick, Math.max(next - performance.now(), 0));
  }

  private tick(): void {
    const now = performance.now();
    for (const lease of this.leases.filter(({ deadline }) => now >= deadline)) this.lose(lease);
    if (!this.extending && now >= this.nextExtension && this.leases.length > 0) void this.extend();
    this.schedule();
  }

  private async extend(): Promise<void> {
    const leases = [...this.leases];
    const sentAt = performance.now();
    this.extending = true;
    try {
      const handles = leases.map(({ job }) => job);
      const held = new Set(await this.jobs.extendLeases(handles, { leaseMs: this.leaseMs }));
      this.extendingLeases.succeeded();
      for (const lease of leases) {
        if (held.has(lease.job.jobId)) lease.deadline = sentAt + this.leaseMs;
        else this.lose(lease);
      }
      this.nextExtension = sentAt + this.leaseMs / 3;
    } catch (error) {
      this.nextExtension =
        performance.now() + Math.min(this.extendingLeases.failed(error), this.leaseMs / 10);
      if (this.leases.length === 0) this.extendingLeases.forget();
    } finally {
      this.extending = false;
      this.schedule();
    }
  }

  private loseRunsOf(jobId: string): void {
    for (const lease of this.leases.filter(({ job }) => job.jobId === jobId)) this.lose(lease);
  }

  /** The worker that is told so goes on to its end, but nothing of it will be recorded. */
  private lose(lease: Lease): void {
    if (!this.leases.includes(lease)) return;
    if (lease.settling) {
      lease.deadline = Infinity;
      return;
    }
    this.drop(lease);
    const reason = `The lease of run ${lease.job.runNumber} of job ${lease.job.jobId} has ended.`;
    lease.abort.abort(new LeaseEndedError(reason));
    this.onLost(lease);
  }
}
