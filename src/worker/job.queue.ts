import type { DataSource } from 'typeorm';
import { claimJobs } from '../jobs/job.claiming.js';
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

/** The queue of jobs, as a worker works on it. */
export class JobQueue implements WorkQueue<Lease> {
  readonly concurrency: number;
  readonly pollMs: number;
  /** Those whose handlers are at work. */
  readonly running = new Set<Lease>();
  readonly keeper: LeaseKeeper;
  private readonly runner: JobRunner;
  private readonly claimer: Claimer<Awaited<ReturnType<typeof claimJobs>>>;
  /** Never two at once: they would take each other along, up to their last try. */
  private suspect: VideoJob | undefined;

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
    const { leaseMs, maxAttempts } = options;
    const { workerId } = jobs;
    this.claimer = new Claimer((limit, dueFrom) => {
      const suspects = this.suspect === undefined;
      return claimJobs(db, { limit, leaseMs, maxAttempts, workerId, suspects }, dueFrom);
    });
  }

  async claim(limit: number, woken: boolean): Promise<Claimed<Lease>> {
    const { telemetry, db } = this.parts;
    const sentAt = performance.now();
    const { jobs, suspect, found, exhausted, lookAgainMs } = await this.claimer.next(limit, woken);
    telemetry.claimed('jobs', performance.now() - sentAt);
    telemetry.count('jobs.claimed', jobs.length);
    telemetry.count('jobs.failed', exhausted);
    announce(db.dataSource, 'notifications', exhausted, undefined);
    this.suspect ??= suspect;
    const items = this.keeper.hold(jobs, sentAt);
    return { items, more: found >= limit, lookAgainMs };
  }

  async run(lease: Lease, onHandled: () => void): Promise<void> {
    this.running.add(lease);
    const outcome = await this.runner.run(lease, onHandled);
    this.running.delete(lease);
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
    const leases = [...this.running].filter(({ settling }) => !settling);
    for (const lease of leases) {
      lease.released = true;
      lease.abort.abort(reason);
    }
    return leases;
  }
}
