import type { PgPool } from '../peers/pg.internals.js';
import { claimLastTries, claimLost, claimPending } from '../jobs/job.claiming.js';
import type { Claim } from '../jobs/job.claiming.js';
import { claimInTurn, Rotation } from '../jobs/fair.claiming.js';
import type { Claimed } from '../sql/claim.js';
import { JobService } from '../jobs/job.service.js';
import { SqlRunner } from '../sql/sql.runner.js';
import type { VideoJob } from '../schema/entities/index.js';
import { Claimer } from './claimer.js';
import { FairClaimer } from './fair.claimer.js';
import { JobCompleter } from './job.completer.js';
import { JobRunner } from './job.runner.js';
import { LeaseKeeper } from '../jobs/leases/lease.keeper.js';
import type { Lease } from '../jobs/leases/lease.keeper.js';
import { ProgressReporter } from './progress.reporter.js';
import type { ClaimedWork, WorkQueue } from './work.loop.js';
import type { FoundHandler } from './worker.decorators.js';
import type { QueueContext } from './queue.context.js';
import type { VideoJobHandler } from './worker.types.js';

/** How long, in ms, a worker does not look for lost jobs after a claim that found as many jobs as it asked for. */
const LOST_LOOK_MS = 500;
/** How long, in ms, a worker does not look for a suspect job after it found none. */
const SUSPECT_LOOK_MS = 1_000;

/** How a worker claims, runs and releases jobs. */
export class JobQueue implements WorkQueue<Lease> {
  readonly concurrency: number;
  readonly pollMs: number;
  readonly keeper: LeaseKeeper;
  private readonly progress: ProgressReporter;
  private readonly runner: JobRunner;
  private readonly lost: Claimer<VideoJob>;
  private readonly pending: Pick<Claimer<VideoJob>, 'next'>;
  readonly workerId: string;
  private readonly terms: Omit<Claim, 'limit'>;
  /** Jobs whose leases have ended although their handlers go on. */
  private readonly hanging = new Set<Lease>();
  /** The running suspect: a job that may kill its worker, which runs alone. */
  private suspect: Lease | undefined;
  private nextSuspectLook = 0;
  /** Whether the last claim found as many jobs as it asked for, so that more may be due. */
  private foundItsFill = false;
  private nextLostLook = 0;

  constructor(
    { handler, concurrency, maxRunMs }: FoundHandler<VideoJobHandler>,
    private readonly context: QueueContext,
    leasePool: PgPool,
    private readonly onDue: () => void,
  ) {
    const { options, outage, logger, telemetry, db } = context;
    this.concurrency = concurrency;
    this.pollMs = options.pollMs;
    const jobs = new JobService(db.dataSource, context.settings);
    // A statement is given up after a third of a lease, in time for another try.
    const replyTimeoutMs = Math.ceil(options.leaseMs / 3);
    const { preparedStatements } = context.settings;
    const leaseDb = new SqlRunner(db.dataSource, preparedStatements, {
      pool: leasePool,
      replyTimeoutMs,
    });
    const recording = outage.activity('Recording what became of jobs');
    const extending = outage.activity('Extending leases');
    this.keeper = new LeaseKeeper(leaseDb, options.leaseMs, extending, (lease) => {
      const { runNumber, jobId } = lease.run;
      this.hanging.add(lease);
      telemetry.hangs('jobs', 1);
      const goesOn = `it was aborted, and keeps its place until its handler ends.`;
      if (lease.cancelled)
        logger.log(`Job ${jobId} was cancelled or deleted in run ${runNumber}: ${goesOn}`);
      else {
        const why = lease.overslept === undefined ? '' : `, because ${lease.overslept}`;
        logger.warn(`The lease of run ${runNumber} of job ${jobId} was lost${why}: ${goesOn}`);
      }
    });
    this.progress = new ProgressReporter(
      new SqlRunner(db.dataSource, preparedStatements, {
        pool: leasePool,
        // It is given up in time for an extension that waits for it.
        replyTimeoutMs: Math.ceil(options.leaseMs / 10),
      }),
      this.keeper,
      outage.activity('Reporting progress'),
    );
    const completer = new JobCompleter(jobs, jobs.workerId, db, recording);
    this.runner = new JobRunner(
      handler,
      db,
      leaseDb,
      this.keeper,
      this.progress,
      completer,
      recording,
      { ...options, maxRunMs, urlSchemes: context.settings.urlSchemes },
      telemetry,
      logger,
    );
    const { leaseMs, maxAttempts } = options;
    this.workerId = jobs.workerId;
    this.terms = { leaseMs, maxAttempts, workerId: jobs.workerId };
    this.lost = new Claimer((limit, dueFrom) =>
      claimLost(db, { ...this.terms, limit }, dueFrom, maxAttempts - 1),
    );
    this.pending = this.claimerOfPending();
  }

  private claimerOfPending(): Pick<Claimer<VideoJob>, 'next'> {
    const { db, options } = this.context;
    const { order, maxRunningPerUser: cap } = options;
    const byAge = new Claimer<VideoJob>((limit, dueFrom) =>
      claimPending(db, { ...this.terms, limit }, dueFrom),
    );
    if (order === 'age') return byAge;
    const rotation = new Rotation();
    return new FairClaimer(
      (limit) => claimInTurn(db, { ...this.terms, limit }, rotation, cap),
      // In the order of age, the running jobs of a user are not counted.
      cap === undefined ? byAge : undefined,
    );
  }

  /** Claims jobs of lost workers first, then pending jobs. */
  async claim(limit: number, woken: boolean): Promise<ClaimedWork<Lease>> {
    const lost = await this.claimLost(limit);
    if (lost.length > 0) return { items: lost, more: true, lookAgainMs: woken ? 0 : undefined };
    const sentAt = performance.now();
    const claimed = await this.pending.next(limit, woken);
    this.foundItsFill = claimed.more;
    return { ...claimed, items: this.take(claimed, sentAt) };
  }

  private async claimLost(limit: number): Promise<Lease[]> {
    const sentAt = performance.now();
    if (this.foundItsFill && sentAt < this.nextLostLook) return [];
    const claimed = await this.lost.next(limit, false);
    this.nextLostLook = performance.now() + LOST_LOOK_MS;
    const leases = this.take(claimed, sentAt);
    return leases.length > 0 ? leases : this.claimSuspect();
  }

  /**
   * Claims a job that has only its last try left because its workers were lost. It may kill this worker, too.
   * So a worker runs only one such job at a time: a second one would be lost together with the first.
   */
  private async claimSuspect(): Promise<Lease[]> {
    const sentAt = performance.now();
    if (this.suspect !== undefined || sentAt < this.nextSuspectLook) return [];
    const leases = this.take(
      await claimLastTries(this.context.db, { ...this.terms, limit: 1 }),
      sentAt,
    );
    [this.suspect] = leases;
    this.nextSuspectLook = performance.now() + SUSPECT_LOOK_MS;
    return leases;
  }

  /** @param sentAt - `performance.now()` before the claim was sent */
  private take(
    { items, failed, waitedMs }: Omit<Claimed<VideoJob>, 'more' | 'dueUntil'>,
    sentAt: number,
  ): Lease[] {
    const { telemetry } = this.context;
    telemetry.claimed('jobs', performance.now() - sentAt);
    telemetry.count('jobs.claimed', items.length);
    telemetry.count('jobs.failed', failed);
    for (const ms of waitedMs) telemetry.jobWaited(ms);
    return this.keeper.add(items, sentAt);
  }

  async run(lease: Lease, onHandled: () => void): Promise<void> {
    const start = performance.now();
    const outcome = await this.runner.run(lease, onHandled);
    if (outcome !== 'lost' && outcome !== 'released') {
      this.context.telemetry.jobRan(performance.now() - start, outcome);
    }
    if (this.hanging.delete(lease)) this.context.telemetry.hangs('jobs', -1);
    if (lease === this.suspect) this.suspectEnded();
    // With a limit for each user, another job of this user may be waiting for this place.
    if (this.context.options.maxRunningPerUser !== undefined) this.onDue();
    // Released jobs are counted at their release, because their handlers may never end.
    if (outcome !== 'released') this.context.telemetry.count(`jobs.${outcome}`);
  }

  private suspectEnded(): void {
    this.suspect = undefined;
    this.nextSuspectLook = this.nextLostLook = 0;
    this.onDue();
  }

  /** Stops extending the leases of the running jobs, so that other workers get these jobs when the leases end. */
  clear(): void {
    this.progress.stop();
    this.keeper.clear();
  }

  /** Gives jobs back without counting the attempt. */
  giveBack(leases: readonly Lease[]): Promise<void> {
    return this.runner.release(leases);
  }

  /** Aborts the running handlers. @returns the leases to release */
  abort(reason: Error): Lease[] {
    const leases = this.keeper.leases.filter(({ settling }) => !settling);
    for (const lease of leases) {
      lease.released = true;
      lease.abort.abort(reason);
    }
    return leases;
  }
}
