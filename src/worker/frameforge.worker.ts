import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { OnApplicationBootstrap, OnModuleDestroy } from '@nestjs/common';
import type { DiscoveryService } from '@nestjs/core';
import type { PgPool } from '../peers/pg.internals.js';
import { notify } from '../jobs/wake-up.sql.js';
import { SqlRunner } from '../sql/sql.runner.js';
import { ConfigurationError } from '../errors.js';
import { reasonOf } from '../errors.text.js';
import { MAX_MS, wholeNumber } from '../input/option.rules.js';
import { onJobChange } from '../jobs/job.changes.js';
import { onQueueEvent } from '../jobs/job.events.js';
import { countCreatedJobs } from '../jobs/job.metrics.js';
import type { JobService } from '../jobs/job.service.js';
import { jobQueueState } from '../jobs/job.claiming.sql.js';
import { cancelledJobOf, WAKE_UP_CHANNEL } from '../jobs/wake-up.sender.js';
import { deliveryQueueState } from '../notifications/notification.sql.js';
import { DeliveryQueue } from './delivery.queue.js';
import { JobQueue } from './job.queue.js';
import type { Lease } from '../jobs/leases/lease.keeper.js';
import { LeaseEndedError } from '../jobs/leases/lease.keeper.js';
import type { Delivery } from './notification.runner.js';
import { OutageWatch } from './outage.watch.js';
import { openLeasePool } from './lease.pool.js';
import { tooSmallPool } from './pool.fit.js';
import { Retention } from './retention.js';
import { Telemetry } from './telemetry.js';
import type { QueueState } from './telemetry.js';
import { ChannelListener } from '../sql/channel.listener.js';
import { WorkLoop } from './work.loop.js';
import { findHandlers } from './worker.decorators.js';
import type { FoundHandler } from './worker.decorators.js';
import type { ResolvedWorkerOptions } from './worker.options.js';
import type { QueueContext } from './queue.context.js';
import { WorkerReporter } from './worker.reporter.js';
import type { WorkerStats } from './worker.stats.js';
import type { NotificationHandler, VideoJobHandler } from './worker.types.js';

/** The warning if wake-ups cannot arrive. */
const DEAF =
  '`listen` does nothing here: a pooler is between that keeps no session (PgBouncer with pool_mode = ' +
  'transaction), so that no wake-up arrives, and new work is found by polling. Connect the worker to the ' +
  'server itself, or by a pool in session mode; or set `listen: false`.';

/**
 * How long to wait for the reply to a statement, in ms, or for as long as a lease if that is longer. Without a limit,
 * the worker would wait for a vanished server until TCP gives up, or for ever.
 */
const REPLY_TIMEOUT_MS = 10_000;

/** How long, in ms, the application's start waits for a slow database, and its end for an unfinished start. */
const START_GRACE_MS = 500;

/** How long, in ms, handlers that were aborted at shutdown have to end before their jobs are released. */
const ABORT_GRACE_MS = 100;

/**
 * Processes jobs and delivers notifications in the background, from the start of the application to its end. No
 * problem in it ends the process: an error of a handler fails the attempt, and the worker waits for a database
 * that cannot be reached.
 */
export class FrameForgeWorker implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('FrameForgeWorker');
  private readonly outage = new OutageWatch(this.logger);
  private readonly cleanups: (() => unknown)[] = [];
  private telemetry = new Telemetry();
  private jobQueue: JobQueue | undefined;
  private deliveryQueue: DeliveryQueue | undefined;
  private jobLoop: WorkLoop<Lease> | undefined;
  private deliveryLoop: WorkLoop<Delivery> | undefined;
  private starting: Promise<void> | undefined;
  /** Whether the application has started. Errors after that do not end it. */
  private hasBooted = false;
  private stopping: Promise<void> | undefined;

  /** @internal Nest makes it. */
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly jobs: JobService,
    private readonly options: ResolvedWorkerOptions,
  ) {}

  /** What this worker is doing, and has done since it started. */
  stats(): WorkerStats {
    return {
      running: { jobs: this.jobLoop?.size ?? 0, deliveries: this.deliveryLoop?.size ?? 0 },
      hanging: { ...this.telemetry.hanging },
      counts: { ...this.telemetry.counts },
      database: this.outage.isDown ? 'down' : 'up',
    };
  }

  /**
   * The parts that this worker runs; undefined until it has started.
   *
   * @internal for tests that wait for it
   * @returns the workerId of its jobs, and whether it delivers
   */
  works(): { readonly jobs: string | undefined; readonly deliveries: boolean } {
    return { jobs: this.jobQueue?.workerId, deliveries: this.deliveryLoop !== undefined };
  }

  /** Looks for work at once. @internal */
  wake(): void {
    this.jobLoop?.wake();
    this.deliveryLoop?.wake();
  }

  /**
   * Starts to work. If the database cannot be reached, only the worker waits for it. The start of the application
   * goes on, so that the application can be closed.
   */
  async onApplicationBootstrap(): Promise<void> {
    const { processors, deliverers } = findHandlers(this.discovery);
    const { concurrency, maxRunMs, deliveryConcurrency } = this.options;
    const processor = onlyOne('@VideoJobProcessor', processors, { concurrency, maxRunMs });
    const deliverer = onlyOne('@NotificationDeliverer', deliverers, {
      concurrency: deliveryConcurrency,
    });
    if (processor === undefined && deliverer === undefined) {
      throw new ConfigurationError(
        'FrameForgeWorkerModule found nothing to run. Decorate a provider of the application with ' +
          '@VideoJobProcessor() or @NotificationDeliverer(), or do not import the module.',
      );
    }
    const handlers = (processor?.concurrency ?? 0) + (deliverer?.concurrency ?? 0);
    const tooSmall = tooSmallPool(this.jobs.dataSource, handlers);
    if (tooSmall !== undefined) this.logger.warn(tooSmall);
    // An application that is closed while it starts may get here after its end.
    if (this.stopping !== undefined) return;
    this.starting = this.start(processor, deliverer);
    await atMost(START_GRACE_MS, this.starting);
    this.hasBooted = true;
    this.starting.catch((error: unknown) => {
      this.logger.error(`The worker could not start, and processes nothing: ${reasonOf(error)}`);
    });
  }

  private async start(
    processor: FoundHandler<VideoJobHandler> | undefined,
    deliverer: FoundHandler<NotificationHandler> | undefined,
  ): Promise<void> {
    this.telemetry = await Telemetry.create();
    const leasePool = await this.openLeasePool();
    if (leasePool === undefined) return;
    const { outage } = this;
    const context = this.context();
    if (processor !== undefined) {
      this.jobQueue = new JobQueue(processor, context, leasePool, () => this.jobLoop?.wake());
      this.jobLoop = new WorkLoop(this.jobQueue, outage.activity('Claiming jobs'));
    }
    if (deliverer !== undefined) {
      this.deliveryQueue = new DeliveryQueue(deliverer, context);
      const claiming = outage.activity('Claiming notifications');
      this.deliveryLoop = new WorkLoop(this.deliveryQueue, claiming);
    }
    this.watchQueues(context, leasePool);
    const reporter = new WorkerReporter(
      context.db,
      this.jobQueue?.workerId ?? this.jobs.workerId,
      this.telemetry,
      () => ({ places: processor?.concurrency ?? 0, running: this.jobLoop?.handling ?? 0 }),
      this.logger,
    );
    reporter.start();
    this.cleanups.unshift(() => reporter.stop());
    if (this.options.retention !== undefined) {
      const removing = outage.activity('Removing old jobs');
      const { retention } = this.options;
      const sweeper = new Retention(context.db, retention, removing, this.logger);
      sweeper.start();
      this.cleanups.unshift(() => sweeper.stop());
    }
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

  /** @returns undefined when the worker is stopped meanwhile */
  private async openLeasePool(): Promise<PgPool | undefined> {
    const connecting = this.outage.activity('Connecting');
    while (this.stopping === undefined) {
      try {
        const { dataSource } = this.jobs;
        const leasePool = await openLeasePool(dataSource, this.options.leaseMs, connecting);
        if (this.stopping === undefined) return leasePool;
        await leasePool.end();
      } catch (error) {
        if (this.stopping !== undefined) break;
        if (!this.hasBooted) throw error;
        await connecting.wait(error).catch(() => {});
      }
    }
    return undefined;
  }

  /**
   * Stops claiming, lets handlers finish for `shutdownMs`, then aborts them and releases their jobs
   * without counting the attempt.
   */
  onModuleDestroy(): Promise<void> {
    this.stopping ??= this.stop();
    return this.stopping;
  }

  private context(): QueueContext {
    const { options, logger, outage, telemetry } = this;
    const { dataSource, preparedStatements, urlSchemes } = this.jobs;
    const replyTimeoutMs = Math.max(options.leaseMs, REPLY_TIMEOUT_MS);
    // The last statement of a transaction with the application's own writes is sent by the worker.
    const db = new SqlRunner(dataSource, preparedStatements, {
      replyTimeoutMs,
      boundsJoined: true,
    });
    const settings = { preparedStatements, replyTimeoutMs, urlSchemes };
    return { options, logger, outage, telemetry, db, settings };
  }

  /** Receives wake-ups about new rows in the queues, from this process and from others. */
  private watchQueues({ telemetry, db }: QueueContext, leasePool: PgPool): void {
    const loops = { jobs: this.jobLoop, notifications: this.deliveryLoop };
    this.cleanups.push(
      countCreatedJobs(db.dataSource, (error) => {
        this.logger.warn(
          `The metric frameforge.jobs.created does not work in this process: ${reasonOf(error)}`,
        );
      }),
      onQueueEvent(db.dataSource, ({ queue, count, created }) => {
        if (queue === 'jobs' && created) telemetry.count('jobs.created', count);
        loops[queue]?.wake();
      }),
      onJobChange(db.dataSource, ({ jobs, areCancelled }) => {
        if (areCancelled !== true) return;
        for (const { jobId } of jobs) this.jobQueue?.keeper.check(jobId);
      }),
      telemetry.observeQueues(() => queueStates(db)),
      () => this.jobQueue?.clear(),
    );
    if (this.options.listen) {
      const listening = this.outage.activity('Listening for wake-ups');
      const onMessage = (message: string): void => {
        const cancelled = cancelledJobOf(message);
        if (cancelled === undefined) loops[message as keyof typeof loops]?.wake();
        // Whoever may connect can send a message: the database has the last word.
        else this.jobQueue?.keeper.check(cancelled);
      };
      const listener = new ChannelListener(
        leasePool,
        WAKE_UP_CHANNEL,
        this.options.leaseMs,
        {
          what: listening.what,
          succeeded: () => listening.succeeded(),
          wait: (error) => listening.wait(error),
          send: (text) => db.run(listening.what, notify, [[WAKE_UP_CHANNEL], [text]]),
          deaf: () => this.logger.warn(DEAF),
        },
        onMessage,
        // Messages may have been missed before this process listened.
        () => {
          loops.jobs?.wake();
          loops.notifications?.wake();
          this.jobQueue?.keeper.checkAll();
        },
      );
      listener.start();
      this.cleanups.push(() => listener.stop());
    }
    this.cleanups.push(() => leasePool.end());
  }

  private async stop(): Promise<void> {
    if (this.jobLoop === undefined && this.deliveryLoop === undefined) {
      this.outage.stop();
      // A part that is opening a connection closes that connection itself.
      await atMost(START_GRACE_MS, Promise.allSettled([this.starting]));
    }
    const { shutdownMs } = this.options;
    const ended = Promise.all([this.jobLoop?.stop(), this.deliveryLoop?.stop()]);
    const running = (this.jobLoop?.size ?? 0) + (this.deliveryLoop?.size ?? 0);
    if (running > 0) {
      this.logger.log(`Stopping: waiting up to ${shutdownMs} ms for ${running} handlers.`);
    }
    const late = new AbortController();
    const over = sleep(shutdownMs, 'late', { signal: late.signal }).catch(() => 'ended');
    if ((await Promise.race([ended, over])) === 'late') await this.abortAll(ended);
    late.abort();
    this.outage.stop();
    for (const cleanup of this.cleanups.splice(0)) await cleanup();
  }

  private async abortAll(ended: Promise<unknown>): Promise<void> {
    const reason = new LeaseEndedError('The process shuts down.');
    const leases = this.jobQueue?.abort(reason) ?? [];
    const deliveries = this.deliveryQueue?.abort(reason) ?? 0;
    await Promise.race([ended, sleep(ABORT_GRACE_MS)]);
    await this.jobQueue?.giveBack(leases);
    this.logger.warn(
      `Stopped: ${leases.length} jobs were aborted and given back for another worker, and ` +
        `${deliveries} deliveries were aborted.`,
    );
  }
}

/** Waits for a promise, but not longer than this many ms. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const isOver = new AbortController();
  const over = sleep(ms, undefined, { signal: isOver.signal }).catch(() => {});
  await Promise.race([work, over]).finally(() => isOver.abort());
}

/** @param options - of the module; they replace those of the decorator */
function onlyOne<T>(
  decorator: string,
  found: FoundHandler<T>[],
  options: Pick<ResolvedWorkerOptions, 'concurrency'> & { maxRunMs?: number | undefined },
): FoundHandler<T> | undefined {
  if (found.length > 1) {
    throw new ConfigurationError(
      `${decorator} is on ${found.map(({ name }) => name).join(' and ')}: an application has only one. ` +
        `Let one class handle all kinds of work.`,
    );
  }
  const [handler] = found;
  if (handler && !(Number.isInteger(handler.concurrency) && handler.concurrency >= 1)) {
    throw new ConfigurationError(
      `${decorator} of ${handler.name}: concurrency must be a whole number, 1 or more.`,
    );
  }
  const wrongLimit =
    handler?.maxRunMs === undefined
      ? undefined
      : wholeNumber(1, MAX_MS, 'milliseconds')(handler.maxRunMs);
  if (wrongLimit !== undefined) {
    throw new ConfigurationError(`${decorator} of ${handler?.name}: maxRunMs ${wrongLimit}.`);
  }
  return (
    handler && {
      ...handler,
      concurrency: options.concurrency ?? handler.concurrency,
      maxRunMs: options.maxRunMs ?? handler.maxRunMs,
    }
  );
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
