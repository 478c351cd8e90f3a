import type { DataSource } from 'typeorm';
import { claimJobs } from '../jobs/job.claiming.js';
import type { ClaimedJobs } from '../jobs/job.claiming.js';
import { announce } from '../jobs/job.events.js';
import { JobService } from '../jobs/job.service.js';
import type { VideoJob } from '../schema/entities/index.js';
import { Claimer } from './claimer.js';
import { JobCompleter } from './job.completer.js';
import { JobRunner } from './job.runner.js';
import { LeaseKeeper } from './lease.keeper.js';
import type { Lease } from './lease.keeper.js';
import type { Claimed, WorkQueue } from './work.loop.js';
import type { FoundHandler } from './worker.decorators.js';
import type { WorkerParts } from './worker.parts.js';
import type { VideoJobHandler } from './worker.types.js';

/** How often, in ms, a worker that has more to do than it can looks for jobs of lost workers first. */
const LOST_LOOK_MS = 500;
/** The largest part of the time that is spent on that. */
const LOST_LOOK_SHARE = 1 / 20;

/** The queue of jobs, as a worker works on it. */
export class JobQueue implements WorkQueue<Lease> {
  readonly concurrency: number;
  readonly pollMs: number;
  readonly keeper: LeaseKeeper;
  private readonly runner: JobRunner;
  private readonly claimer: Claimer<ClaimedJobs>;
  private readonly workerId: string;
  /** Never two at once: they would take each other along, up to their last try. */
  private suspect: VideoJob | undefined;
  /** The last claim found its fill: there may be more due than the workers can do. */
  private isBehind = false;
  private nextLostLook = 0;

  constructor(
    { handler, concurrency }: FoundHandler<VideoJobHandler>,
    private readonly parts: WorkerParts,
    own: DataSource,
  ) {
    const { options, outage, logger, telemetry, db } = parts;
    this.concurrency = concurrency;
    this.pollMs = options.pollMs;
    const jobs = new JobService(db.dataSource, parts.settings);
    // Without `replyTimeoutMs`: its connections have a shorter one.
    const { preparedStatements } = parts.settings;
    const ownJobs = new JobService(own, { preparedStatements });
    const recording = outage.activity('Recording what became of jobs');
    const extending = outage.activity('Extending leases');
    this.keeper = new LeaseKeeper(ownJobs, options.leaseMs, extending, ({ job }) => {
      logger.warn(
        `The lease of run ${job.runNumber} of job ${job.jobId} was lost: it was aborted.`,
      );
    });
    const completer = new JobCompleter(jobs, db, recording);
    this.runner = new JobRunner(
      handler,
      jobs,
      ownJobs,
      this.keeper,
      completer,
      recording,
      options,
      telemetry,
      logger,
    );
    this.workerId = jobs.workerId;
    this.claimer = new Claimer((limit, dueFrom) => this.claimJobs(limit, dueFrom));
  }

  async claim(limit: number, woken: boolean): Promise<Claimed<Lease>> {
    const lost = await this.claimLost(limit);
    if (lost.length > 0) return { items: lost, more: true, lookAgainMs: undefined };
    const sentAt = performance.now();
    const claimed = await this.claimer.next(limit, woken);
    this.isBehind = claimed.found >= limit;
    const items = this.take(claimed, sentAt);
    return { items, more: this.isBehind, lookAgainMs: claimed.lookAgainMs };
  }

  /**
   * What a lost worker had begun is due when its lease ends, and would wait behind all that was due
   * before. So a worker that is behind looks for such jobs first, now and then: among those that became
   * due within the time of a lease, which are few, however many wait.
   */
  private async claimLost(limit: number): Promise<Lease[]> {
    const sentAt = performance.now();
    if (!this.isBehind || sentAt < this.nextLostLook) return [];
    const claimed = await this.claimJobs(limit, null, this.parts.options.leaseMs);
    const end = performance.now();
    this.nextLostLook = end + Math.max(LOST_LOOK_MS, (end - sentAt) / LOST_LOOK_SHARE);
    return this.take(claimed, sentAt);
  }

  private claimJobs(
    limit: number,
    dueFrom: Date | null,
    lostWithinMs?: number,
  ): Promise<ClaimedJobs> {
    const { db, options } = this.parts;
    const { leaseMs, maxAttempts } = options;
    const { workerId } = this;
    const suspects = this.suspect === undefined;
    const claim = { limit, leaseMs, maxAttempts, workerId, suspects, lostWithinMs };
    return claimJobs(db, claim, dueFrom);
  }

  /** @param sentAt - `performance.now()` before the claim was sent */
  private take({ jobs, suspect, exhausted }: ClaimedJobs, sentAt: number): Lease[] {
    const { telemetry, db } = this.parts;
    telemetry.claimed('jobs', performance.now() - sentAt);
    telemetry.count('jobs.claimed', jobs.length);
    telemetry.count('jobs.failed', exhausted);
    announce(db.dataSource, 'notifications', exhausted, undefined);
    this.suspect ??= suspect;
    return this.keeper.hold(jobs, sentAt);
  }

  async run(lease: Lease, onHandled: () => void): Promise<void> {
    const outcome = await this.runner.run(lease, onHandled);
    if (lease.job === this.suspect) this.suspect = undefined;
    // Those are counted where they are released: a handler may never end.
    if (outcome !== 'released') this.parts.telemetry.count(`jobs.${outcome}`);
  }

  /** Without counting the attempt. */
  giveBack(lease: Lease): Promise<void> {
    return this.runner.release(lease);
  }

  /** Aborts what is at work. @returns what is to be released */
  abort(reason: Error): Lease[] {
    const leases = this.keeper.leases.filter(({ settling }) => !settling);
    for (const lease of leases) {
      lease.released = true;
      lease.abort.abort(reason);
    }
    return leases;
  }
}
