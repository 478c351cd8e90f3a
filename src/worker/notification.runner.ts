import type { Logger } from '@nestjs/common';
import { LeaseLostError, NotificationNotFoundError } from '../errors.js';
import { readable, reasonOf } from '../errors.text.js';
import type { JobView } from '../jobs/job.view.js';
import { tryOf } from '../notifications/delivery.round.js';
import type { NotificationHandle } from '../notifications/notification.inputs.js';
import type { NotificationService } from '../notifications/notification.service.js';
import type { NotificationLog } from '../schema/entities/index.js';
import { backoffMs } from './backoff.js';
import { errorText } from './error-text.js';
import type { LazyAbort } from '../jobs/leases/lazy-abort.js';
import { LeaseEndedError } from '../jobs/leases/lease.keeper.js';
import { Signalled } from '../jobs/leases/signalled.js';
import type { Activity } from './outage.watch.js';
import type { RecordError, Telemetry } from './telemetry.js';
import type { ResolvedWorkerOptions } from './worker.options.js';
import { RetryJobError } from './worker.types.js';
import type { NotificationHandler } from './worker.types.js';

/** The outcome of a delivery, as the statistics count it. */
export type DeliveryOutcome = 'sent' | 'retried' | 'failed' | 'lost';

/** A claimed notification in this process. */
export interface Delivery {
  readonly notification: NotificationLog;
  /** As it was when it ended. */
  readonly job: JobView;
  /** The frozen handle of the delivery. A handler can change its notification object, but not this handle. */
  readonly handle: Readonly<NotificationHandle>;
  readonly abort: LazyAbort;
  /** When its lease ends, on this process's monotonic clock. */
  readonly deadline: number;
  /** The process shuts down. */
  released: boolean;
}

/** Calls the handler for claimed notifications, and records the outcomes. Its methods never reject. */
export class NotificationRunner {
  constructor(
    private readonly handler: NotificationHandler,
    private readonly notifications: NotificationService,
    private readonly recording: Activity,
    private readonly options: ResolvedWorkerOptions,
    private readonly telemetry: Telemetry,
    private readonly logger: Logger,
  ) {}

  /** @param onHandled - is called when the handler has ended and only the outcome must be recorded */
  async run(delivery: Delivery, onHandled: () => void): Promise<DeliveryOutcome> {
    const { notificationId, deliveryNumber } = delivery.handle;
    try {
      const attempt = tryOf(deliveryNumber);
      return await this.telemetry.span('deliver', notificationId, attempt, (recordError) =>
        this.attempt(delivery, recordError, onHandled),
      );
    } catch (error) {
      this.logger.error(
        `The outcome of notification ${notificationId} could not be recorded: ${reasonOf(error)}`,
      );
      return 'lost';
    }
  }

  private async attempt(
    delivery: Delivery,
    recordError: RecordError,
    onHandled: () => void,
  ): Promise<DeliveryOutcome> {
    const { notification, job, handle, abort, deadline } = delivery;
    const reason = `The lease of delivery ${handle.deliveryNumber} has ended.`;
    const timer = setTimeout(
      () => abort.abort(new LeaseEndedError(reason)),
      deadline - performance.now(),
    ).unref();
    try {
      const attempt = tryOf(handle.deliveryNumber);
      const context = Object.assign(new Signalled(abort), { attempt, job });
      try {
        await this.handler.deliver(notification, context);
      } finally {
        onHandled();
      }
    } catch (thrown) {
      const error = readable(thrown);
      recordError(error);
      return await this.fail(delivery, error);
    } finally {
      clearTimeout(timer);
    }
    return this.record(delivery, () => this.notifications.markSent(handle), 'sent');
  }

  private async fail(delivery: Delivery, cause: unknown): Promise<DeliveryOutcome> {
    const { handle, released } = delivery;
    const { notificationId, deliveryNumber } = handle;
    const attempt = tryOf(deliveryNumber);
    const final = attempt >= this.options.maxDeliveryAttempts;
    // The delivery was aborted by the shutdown, not by the provider. So another worker may try it at once.
    const backoff = backoffMs(attempt, this.options.deliveryBackoff);
    const wait = cause instanceof RetryJobError ? cause.inMs : backoff;
    const retryInMs = final ? undefined : released ? 0 : wait;
    this.logger.warn(
      `Delivery ${deliveryNumber} of notification ${notificationId} failed, ` +
        `${final ? 'for good' : `next try in ${retryInMs} ms`}: ${reasonOf(cause)}`,
    );
    const failure = { errorMessage: errorText(cause), retryInMs };
    return this.record(
      delivery,
      () => this.notifications.markFailed(handle, failure),
      final ? 'failed' : 'retried',
    );
  }

  /** Writes an outcome. Waits while the database cannot be reached. */
  private async record(
    { deadline }: Delivery,
    write: () => Promise<NotificationLog>,
    outcome: DeliveryOutcome,
  ): Promise<DeliveryOutcome> {
    try {
      await this.recording.untilRecorded(write, () => performance.now() < deadline);
      return outcome;
    } catch (error) {
      if (!(error instanceof LeaseLostError || error instanceof NotificationNotFoundError)) {
        throw error;
      }
      this.logger.warn(`The outcome of a delivery was discarded: ${error.message}`);
      return 'lost';
    }
  }
}
