import { JOB_COLUMNS } from '../jobs/job.columns.js';
import { toJob } from '../jobs/job.row.js';
import { toJobViewAt } from '../jobs/job.view.js';
import type { JobView } from '../jobs/job.view.js';
import { claim } from '../notifications/notification.claiming.js';
import { toNotification } from '../notifications/notification.row.js';
import { claimWithJobs } from '../notifications/notification.sql.js';
import { NotificationService } from '../notifications/notification.service.js';
import type { NotificationLog } from '../schema/entities/index.js';
import { Claimer } from './claimer.js';
import { LazyAbort } from '../jobs/leases/lazy-abort.js';
import { NotificationRunner } from './notification.runner.js';
import type { Delivery } from './notification.runner.js';
import { remove } from './remove.js';
import type { ClaimedWork, WorkQueue } from './work.loop.js';
import type { FoundHandler } from './worker.decorators.js';
import type { QueueContext } from './queue.context.js';
import type { NotificationHandler } from './worker.types.js';

/** How long, in ms, a handler may go on after its lease has ended and its signal was aborted. */
const HEED_MS = 100;

const tellOfHanging = ({ handle: { notificationId, deliveryNumber } }: Delivery): string =>
  `Delivery ${deliveryNumber} of notification ${notificationId} still runs, although its lease has ` +
  `ended: others get its place. Let the handler heed \`signal\`, or give its provider a timeout.`;

const claimNotifications = claimWithJobs(JOB_COLUMNS);

/** A notification that was claimed, and its job as it was when it ended. */
interface Claimed {
  readonly notification: NotificationLog;
  readonly job: JobView;
}

/** How a worker claims and runs deliveries. */
export class DeliveryQueue implements WorkQueue<Delivery> {
  readonly concurrency: number;
  readonly pollMs: number;
  /** Deliveries whose handlers are running. */
  private readonly running: Delivery[] = [];
  private readonly runner: NotificationRunner;
  private readonly claimer: Claimer<Claimed>;

  constructor(
    { handler, concurrency }: FoundHandler<NotificationHandler>,
    private readonly context: QueueContext,
  ) {
    const { options, outage, logger, telemetry, db } = context;
    this.concurrency = concurrency;
    this.pollMs = options.pollMs;
    this.runner = new NotificationRunner(
      handler,
      new NotificationService(db.dataSource, context.settings),
      outage.activity('Recording what became of deliveries'),
      options,
      telemetry,
      logger,
    );
    const { deliveryLeaseMs: leaseMs, maxDeliveryAttempts: maxAttempts } = options;
    this.claimer = new Claimer((limit, dueFrom) =>
      claim(db, { limit, leaseMs, maxAttempts }, dueFrom, claimNotifications, (row) => {
        const notification = toNotification(row);
        return { notification, job: toJobViewAt(toJob(row, 'job.'), notification) };
      }),
    );
  }

  async claim(limit: number, woken: boolean): Promise<ClaimedWork<Delivery>> {
    const { telemetry, options } = this.context;
    const sentAt = performance.now();
    const claimed = await this.claimer.next(limit, woken);
    telemetry.claimed('notifications', performance.now() - sentAt);
    telemetry.count('deliveries.claimed', claimed.items.length);
    telemetry.count('deliveries.failed', claimed.failed);
    const items = claimed.items.map(({ notification, job }) => {
      const { notificationId, deliveryNumber } = notification;
      return {
        notification,
        job,
        handle: Object.freeze({ notificationId, deliveryNumber }),
        abort: new LazyAbort(),
        deadline: sentAt + options.deliveryLeaseMs,
        released: false,
      };
    });
    return { ...claimed, items };
  }

  /**
   * Resolves when the outcome is recorded, or when the lease has ended although the handler goes on. Such a handler
   * may never end, so others get its place.
   */
  run(delivery: Delivery): Promise<void> {
    const { telemetry, logger } = this.context;
    this.running.push(delivery);
    const start = performance.now();
    return new Promise((resolve) => {
      let handling: 'in time' | 'late' | 'over' = 'in time';
      const leaseEnded = (): void => {
        if (handling === 'over') return;
        handling = 'late';
        remove(this.running, delivery);
        telemetry.hangs('deliveries', 1);
        logger.warn(tellOfHanging(delivery));
        resolve();
      };
      // A handler that stops at its signal ends within this time.
      const ms = delivery.deadline + HEED_MS - performance.now();
      const timer = setTimeout(leaseEnded, ms).unref();
      const onHandled = (): void => {
        if (handling === 'late') telemetry.hangs('deliveries', -1);
        handling = 'over';
      };
      void this.runner.run(delivery, onHandled).then((outcome) => {
        clearTimeout(timer);
        remove(this.running, delivery);
        if (outcome !== 'lost') telemetry.delivered(performance.now() - start, outcome);
        telemetry.count(`deliveries.${outcome}`);
        resolve();
      });
    });
  }

  /** A claim counts as a try, so claimed deliveries are still made while the shutdown lasts. */
  async giveBack(deliveries: readonly Delivery[]): Promise<void> {
    await Promise.all(deliveries.map((delivery) => this.run(delivery)));
  }

  /** Aborts the running handlers; each delivery records its own failure. @returns how many there are */
  abort(reason: Error): number {
    for (const delivery of this.running) {
      delivery.released = true;
      delivery.abort.abort(reason);
    }
    return this.running.length;
  }
}
