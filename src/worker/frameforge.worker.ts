import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { OnApplicationBootstrap, OnModuleDestroy } from '@nestjs/common';
import type { DiscoveryService } from '@nestjs/core';
import type { DataSource } from 'typeorm';
import { SqlRunner } from '../connection/sql-runner.js';
import { ConfigurationError } from '../errors.js';
import { claimJobs } from '../jobs/job.claiming.js';
import { announce, onQueueEvent } from '../jobs/job.events.js';
import { countCreatedJobs } from '../jobs/job.metrics.js';
import { JobService } from '../jobs/job.service.js';
import { jobQueueState } from '../jobs/job.sql.js';
import { claimNotifications } from '../notifications/notification.claiming.js';
import type { NotificationService } from '../notifications/notification.service.js';
import { deliveryQueueState } from '../notifications/notification.sql.js';
import type { VideoJob } from '../schema/entities/index.js';
import { Claimer } from './claimer.js';
import { JobCompleter } from './job.completer.js';
import { JobRunner } from './job.runner.js';
import type { Lease } from './lease.keeper.js';
import { LeaseEndedError, LeaseKeeper } from './lease.keeper.js';
import { NotificationRunner } from './notification.runner.js';
import type { Delivery } from './notification.runner.js';
import { OutageWatch } from './outage.watch.js';
import { openOwnConnections } from './own-connections.js';
import { Telemetry } from './telemetry.js';
import type { QueueState } from './telemetry.js';
import { WakeUpListener } from './wake-up.listener.js';
import { WorkLoop } from './work.loop.js';
import { findHandlers } from './worker.decorators.js';
import type { FoundHandler } from './worker.decorators.js';
import type { ResolvedWorkerOptions } from './worker.options.js';
import type { WorkerStats } from './worker.stats.js';
import type { NotificationHandler, VideoJobHandler } from './worker.types.js';

/** How long, in ms, handlers that were aborted at shutdown have to end before their jobs are released. */
const ABORT_GRACE_MS = 100;

/**
 * Processes jobs and delivers notifications in the background, from the application's start to its
 * end. Nothing that goes wrong in it ends the process: handlers' errors fail the attempt, and a
 * database that is away is waited for.
 */
export class FrameForgeWorker implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('FrameForgeWorker');
  private readonly outage = new OutageWatch(this.logger);
  private readonly leases = new Set<Lease>();
  private readonly deliveries = new Set<Delivery>();
  private readonly cleanups: (() => unknown)[] = [];
  private telemetry: Telemetry | undefined;
  private jobLoop: WorkLoop<Lease> | undefined;
  private deliveryLoop: WorkLoop<Delivery> | undefined;
  private runner: JobRunner | undefined;
  private stopping: Promise<void> | undefined;

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly jobs: JobService,
    private readonly notifications: NotificationService,
    private readonly options: ResolvedWorkerOptions,
  ) {}

  /** What this worker is doing, and has done since it started. */
  stats(): WorkerStats {
    return {
      running: { jobs: this.jobLoop?.size ?? 0, deliveries: this.deliveryLoop?.size ?? 0 },
      counts: { ...(this.telemetry ?? new Telemetry()).counts },
      database: this.outage.isDown ? 'down' : 'up',
    };
  }

  async onApplicationBootstrap(): Promise<void> {
    const { processors, deliverers } = findHandlers(this.discovery);
    const processor = onlyOne('@VideoJobProcessor', processors);
    const deliverer = onlyOne('@NotificationDeliverer', deliverers);
    if (processor === undefined && deliverer === undefined) {
      throw new ConfigurationError(
        'FrameForgeWorkerModule found nothing to run. Decorate a provider of the application with ' +
          '@VideoJobProcessor() or @NotificationDeliverer(), or do not import the module.',
      );
    }
    const telemetry = await Telemetry.create();
    this.telemetry = telemetry;
    const { dataSource, preparedStatements } = this.jobs;
    const db = new SqlRunner(dataSource, preparedStatements);
    const connecting = this.outage.activity('Connecting');
    const own = await openOwnConnections(dataSource, this.options.leaseMs, connecting);
    if (processor !== undefined) this.jobLoop = this.processJobs(processor, db, own, telemetry);
    if (deliverer !== undefined) this.deliveryLoop = this.deliver(deliverer, db, telemetry);
    const loops = { jobs: this.jobLoop, notifications: this.deliveryLoop };
    this.cleanups.push(
      await countCreatedJobs(dataSource),
      onQueueEvent(dataSource, ({ queue, count, created }) => {
        if (queue === 'jobs' && created) telemetry.count('jobs.created', count);
        loops[queue]?.wake();
      }),
      telemetry.observeQueues(() => queueStates(db)),
    );
    if (this.options.listen) {
      const listening = this.outage.activity('Listening for wake-ups');
      const listener = new WakeUpListener(own, listening, (queue) => {
        loops[queue as keyof typeof loops]?.wake();
      });
      listener.start();
      this.cleanups.push(() => listener.stop());
    }
    this.cleanups.push(() => own.destroy());
    this.jobLoop?.start();
    this.deliveryLoop?.start();
    this.logger.log(
      [
        ...(processor
          ? [`processing jobs in ${processor.name} (${processor.concurrency} at once)`]
          : []),
        ...(deliverer
          ? [`delivering notifications in ${deliverer.name} (${deliverer.concurrency} at once)`]
          : []),
      ].join(', '),
    );
  }

  /**
   * Stops claiming, lets handlers finish for `shutdownMs`, then aborts them and releases their jobs
   * without counting the attempt.
   */
  onModuleDestroy(): Promise<void> {
    this.stopping ??= this.stop();
    return this.stopping;
  }

  private async stop(): Promise<void> {
    const ended = Promise.all([this.jobLoop?.stop(), this.deliveryLoop?.stop()]);
    const running = this.leases.size + this.deliveries.size;
    if (running > 0) {
      this.logger.log(
        `Stopping: waiting up to ${this.options.shutdownMs} ms for ${running} handlers.`,
      );
    }
    const late = new AbortController();
    const over = sleep(this.options.shutdownMs, 'late', { signal: late.signal }).catch(
      () => 'ended',
    );
    if ((await Promise.race([ended, over])) === 'late') await this.abortAll(ended);
    late.abort();
    this.outage.stop();
    for (const cleanup of this.cleanups.splice(0)) await cleanup();
  }

  private async abortAll(ended: Promise<unknown>): Promise<void> {
    const leases = [...this.leases].filter(({ settling }) => !settling);
    const reason = new LeaseEndedError('The process shuts down.');
    for (const work of [...leases, ...this.deliveries]) {
      work.released = true;
      work.abort.abort(reason);
    }
    await Promise.race([ended, sleep(ABORT_GRACE_MS)]);
    await Promise.all(leases.map((lease) => this.runner?.release(lease)));
    this.logger.warn(
      `Stopped: ${leases.length} jobs were aborted and released for another worker.`,
    );
  }

  private processJobs(
    { handler, concurrency }: FoundHandler<VideoJobHandler>,
    db: SqlRunner,
    own: DataSource,
    telemetry: Telemetry,
  ): WorkLoop<Lease> {
    const { options, jobs, logger, outage } = this;
    const ownJobs = new JobService(own, jobs);
    const extending = outage.activity('Extending leases');
    const recording = outage.activity('Recording what became of jobs');
    const keeper = new LeaseKeeper(ownJobs, options.leaseMs, extending, ({ job }) => {
      logger.warn(
        `The lease of run ${job.runNumber} of job ${job.jobId} was lost: it was aborted.`,
      );
    });
    this.cleanups.push(() => keeper.stop());
    const runner = new JobRunner(
      handler,
      jobs,
      ownJobs,
      keeper,
      new JobCompleter(jobs, recording),
      recording,
      options,
      telemetry,
      logger,
    );
    this.runner = runner;
    const { leaseMs, maxAttempts } = options;
    const { workerId } = jobs;
    // Never two at once: they would take each other along, up to their last try.
    let suspect: VideoJob | undefined;
    const claimer = new Claimer((limit, dueFrom) => {
      const suspects = suspect === undefined;
      return claimJobs(db, { limit, leaseMs, maxAttempts, workerId, suspects }, dueFrom);
    });
    const queue = {
      concurrency,
      pollMs: options.pollMs,
      claim: async (limit: number, woken: boolean) => {
        const sentAt = performance.now();
        const found = await claimer.next(limit, woken);
        telemetry.claimed('jobs', performance.now() - sentAt);
        telemetry.count('jobs.claimed', found.jobs.length);
        telemetry.count('jobs.failed', found.exhausted);
        announce(db.dataSource, 'notifications', found.exhausted, undefined);
        suspect ??= found.suspect;
        const items = found.jobs.map((job) => keeper.hold(job, sentAt));
        return { items, more: found.found >= limit, lookAgainMs: found.lookAgainMs };
      },
      run: async (lease: Lease): Promise<void> => {
        this.leases.add(lease);
        const outcome = await runner.run(lease);
        this.leases.delete(lease);
        if (lease.job === suspect) suspect = undefined;
        if (outcome !== 'released') telemetry.count(`jobs.${outcome}`);
      },
      giveBack: (lease: Lease): Promise<void> => runner.release(lease),
    };
    return new WorkLoop(queue, outage.activity('Claiming jobs'));
  }

  private deliver(
    { handler, concurrency }: FoundHandler<NotificationHandler>,
    db: SqlRunner,
    telemetry: Telemetry,
  ): WorkLoop<Delivery> {
    const { options, notifications, logger, outage } = this;
    const runner = new NotificationRunner(
      handler,
      notifications,
      outage.activity('Recording what became of deliveries'),
      options,
      telemetry,
      logger,
    );
    const { deliveryLeaseMs: leaseMs, maxDeliveryAttempts: maxAttempts } = options;
    const claimer = new Claimer((limit, dueFrom) =>
      claimNotifications(db, { limit, leaseMs, maxAttempts }, dueFrom),
    );
    const run = async (delivery: Delivery): Promise<void> => {
      this.deliveries.add(delivery);
      const outcome = await runner.run(delivery);
      this.deliveries.delete(delivery);
      telemetry.count(`deliveries.${outcome}`);
    };
    const queue = {
      concurrency,
      pollMs: options.pollMs,
      claim: async (limit: number, woken: boolean) => {
        const sentAt = performance.now();
        const found = await claimer.next(limit, woken);
        telemetry.claimed('notifications', performance.now() - sentAt);
        telemetry.count('deliveries.claimed', found.notifications.length);
        telemetry.count('deliveries.failed', found.found - found.notifications.length);
        const items = found.notifications.map((notification) => ({
          notification,
          abort: new AbortController(),
          deadline: sentAt + leaseMs,
          released: false,
        }));
        return { items, more: found.found >= limit, lookAgainMs: found.lookAgainMs };
      },
      run,
      // A claim counts as a try: it is made, for as long as the shutdown lasts.
      giveBack: run,
    };
    return new WorkLoop(queue, outage.activity('Claiming notifications'));
  }
}

function onlyOne<T>(decorator: string, found: FoundHandler<T>[]): FoundHandler<T> | undefined {
  if (found.length > 1) {
    throw new ConfigurationError(
      `${decorator} is on ${found.map(({ name }) => name).join(' and ')}: an application has one. ` +
        `Let one class tell the kinds of work apart.`,
    );
  }
  const [handler] = found;
  if (handler && !(Number.isInteger(handler.concurrency) && handler.concurrency >= 1)) {
    throw new ConfigurationError(
      `${decorator} of ${handler.name}: concurrency must be a whole number, 1 or more.`,
    );
  }
  return handler;
}

async function queueStates(db: SqlRunner): Promise<QueueState[]> {
  const [jobs, deliveries] = await Promise.all([
    db.run<QueueState>('queueState', jobQueueState, []),
    db.run<QueueState>('queueState', deliveryQueueState, []),
  ]);
  return [
    ...jobs.map((state) => ({ ...state, queue: 'jobs' })),
    ...deliveries.map((state) => ({ ...state, queue: 'notifications' })),
  ];
}
