import type { DataSource } from 'typeorm';
import { preparedByDefault } from '../sql/prepared-by-default.js';
import { SqlRunner } from '../sql/sql.runner.js';
import type { ServiceOptions } from '../sql/sql.runner.js';
import type { TransactionOptions } from '../sql/transaction.options.js';
import {
  InvalidJobTransitionError,
  InvalidNotificationTransitionError,
  JobNotFoundError,
  LeaseLostError,
  NotificationNotFoundError,
  TransactionConflictError,
} from '../errors.js';
import type { BulkOutcome } from '../sql/in.batches.js';
import { decodeCursor, encodeCursor } from '../input/cursor.js';
import { DEFAULT_LEASE_MS, DEFAULT_LIMIT, DEFAULT_MAX_ATTEMPTS } from '../input/defaults.js';
import { readId, readInput } from '../input/input.js';
import { DeliveryStatus, NotificationType } from '../schema/entities/index.js';
import type { JobStatus, NotificationLog } from '../schema/entities/index.js';
import { claimNotifications } from './notification.claiming.js';
import {
  ClaimNotificationsInput,
  DeliveryFailure,
  ListNotificationsInput,
  LogNotificationInput,
  NotificationHandle,
  RedeliverNotificationsFilter,
} from './notification.inputs.js';
import { redeliverNotifications } from './notification.redelivery.js';
import { toNotification } from './notification.row.js';
import type { Row } from './notification.row.js';
import * as statements from './notification.sql.js';

/** A page of notifications, newest first. */
export interface NotificationPage {
  /** The notifications of this page. */
  readonly notifications: NotificationLog[];
  /** What to pass as `cursor` for the next page; null when this is the last. */
  readonly nextCursor: string | null;
}

/**
 * Reads the log of notifications, and claims and records their deliveries. `JobService` writes a notification
 * when it finishes a job. Deliveries are at-least-once: give the provider `notificationId` as its
 * idempotency key.
 *
 * Every method can also reject with `InvalidInputError`, `DatabaseUnavailableError`,
 * `TransactionConflictError`, and `MigrationError` if the tables are missing. A method that takes
 * `options.manager` joins that manager's transaction.
 */
export class NotificationService {
  /** Whether plans are kept by name. */
  readonly preparedStatements: boolean;
  private readonly db: SqlRunner;

  /**
   * @param dataSource - an initialized data source with this package's entities
   * @param options - `preparedStatements`: whether plans are kept by name (default true,
   *   unless the environment says `DB_PREPARED_STATEMENTS=false`);
   *   `replyTimeoutMs`: how long to wait for the reply to a statement outside of `options.manager`,
   *   before the database counts as unavailable (default 30,000 ms);
   *   `currentManager`: finds the transaction that a call joins if it has no `manager` (default none);
   *   `runner`: internal, runs the statements
   */
  constructor(
    readonly dataSource: DataSource,
    { runner, preparedStatements, replyTimeoutMs, currentManager }: ServiceOptions = {},
  ) {
    this.preparedStatements = preparedStatements ?? preparedByDefault();
    this.db =
      runner ??
      new SqlRunner(dataSource, this.preparedStatements, { replyTimeoutMs, currentManager });
  }

  /**
   * Writes the notification of a finished job, for services that finish jobs without `JobService`. If the run
   * already has a notification, the call returns it.
   *
   * @throws JobNotFoundError
   * @throws InvalidJobTransitionError unless the job's status matches the notification's type
   */
  async logNotification(
    input: LogNotificationInput,
    options?: TransactionOptions,
  ): Promise<NotificationLog> {
    const operation = 'logNotification';
    const tx = this.db.readOptions(operation, options);
    const log = readInput(operation, LogNotificationInput, input);
    const values = [log.jobId, log.notificationType, log.recipientEmail ?? null];
    const [row] = await this.db.run<Row>(operation, statements.logNotification, values, tx);
    if (row === undefined) throw new JobNotFoundError(log.jobId);
    if (row['matches'] !== true) {
      const told = log.notificationType === NotificationType.SUCCESS ? 'completed' : 'failed';
      throw new InvalidJobTransitionError(
        log.jobId,
        `reported as ${told}`,
        row['jobStatus'] as JobStatus,
        row['jobRunNumber'] as number,
      );
    }
    if (row['notification.notificationId'] !== null) return toNotification(row, 'notification.');
    const run = [log.jobId, row['jobRunNumber']];
    const [existing] = await this.db.run<Row>(operation, statements.notificationOfRun, run, tx);
    if (existing === undefined) throw new TransactionConflictError(operation);
    return toNotification(existing);
  }

  /**
   * Lists notifications, newest first, a page at a time. With a `jobId` it reads only the notifications of that
   * job, and with a `userId` only those of that user's jobs. With neither, each page reads the whole table: only
   * an operator should do that.
   */
  async listNotifications(
    input: ListNotificationsInput = {},
    options?: TransactionOptions,
  ): Promise<NotificationPage> {
    const operation = 'listNotifications';
    const tx = this.db.readOptions(operation, options);
    const { jobId, userId, deliveryStatus, limit, cursor } = readInput(
      operation,
      ListNotificationsInput,
      input,
    );
    const after = cursor ? decodeCursor(cursor) : undefined;
    const filters = {
      jobId: jobId !== undefined,
      userId: userId !== undefined,
      deliveryStatus: deliveryStatus !== undefined,
    };
    const pageSize = limit ?? DEFAULT_LIMIT;
    const values = [jobId, userId, deliveryStatus, after?.createdAt.toISOString(), after?.id];
    const rows = await this.db.run<Row>(
      operation,
      statements.listNotifications(filters, after !== undefined),
      [pageSize + 1, ...values.filter((value) => value !== undefined)],
      tx,
    );
    const notifications = rows.slice(0, pageSize).map((row) => toNotification(row));
    const last = rows.length > pageSize ? notifications.at(-1) : undefined;
    const nextCursor =
      last === undefined
        ? null
        : encodeCursor({ createdAt: last.createdAt, id: last.notificationId });
    return { notifications, nextCursor };
  }

  /**
   * Claims notifications whose delivery is due. The one that has waited longest comes first. If the lease
   * ends before the outcome is recorded, any worker may claim the notification again. A notification that
   * was tried `maxAttempts` times fails in this call. Never joins a transaction, and never waits for one.
   *
   * @returns an empty array when nothing is due
   */
  async claimNotifications(input: ClaimNotificationsInput = {}): Promise<NotificationLog[]> {
    const operation = 'claimNotifications';
    const { limit, leaseMs, maxAttempts } = readInput(operation, ClaimNotificationsInput, input);
    const { items } = await claimNotifications(this.db, {
      limit: limit ?? DEFAULT_LIMIT,
      leaseMs: leaseMs ?? DEFAULT_LEASE_MS,
      maxAttempts: maxAttempts ?? DEFAULT_MAX_ATTEMPTS,
    });
    return items;
  }

  /**
   * Records that a notification was delivered.
   *
   * @throws NotificationNotFoundError
   * @throws LeaseLostError if another delivery has begun since, or it is sent or failed already
   */
  async markSent(
    notification: NotificationHandle,
    options?: TransactionOptions,
  ): Promise<NotificationLog> {
    return this.settle('markSent', notification, options, { next: DeliveryStatus.SENT });
  }

  /**
   * Records that a delivery failed. With `retryInMs` the notification is due again after that time. Without it
   * the notification fails for good. Until the notification is claimed again, you can still correct the outcome:
   * repeat a call whose reply was lost, or call `markSent` if the provider took the message after all.
   *
   * @throws NotificationNotFoundError
   * @throws LeaseLostError if another delivery has begun since, or it is sent or failed already
   */
  async markFailed(
    notification: NotificationHandle,
    failure: DeliveryFailure,
    options?: TransactionOptions,
  ): Promise<NotificationLog> {
    const operation = 'markFailed';
    const { errorMessage, retryInMs } = readInput(operation, DeliveryFailure, failure);
    const next = retryInMs === undefined ? DeliveryStatus.FAILED : DeliveryStatus.PENDING;
    return this.settle(operation, notification, options, { next, errorMessage, retryInMs });
  }

  /**
   * Makes a notification that failed for good pending again. It is due at once, has all of its tries again, and
   * gets a `deliveryNumber` that no earlier delivery had.
   *
   * @throws NotificationNotFoundError
   * @throws InvalidNotificationTransitionError if it is not failed
   */
  async redeliver(notificationId: string, options?: TransactionOptions): Promise<NotificationLog> {
    const operation = 'redeliver';
    const tx = this.db.readOptions(operation, options);
    const id = readId(operation, 'notificationId', notificationId);
    const [row] = await this.db.run<Row>(operation, statements.redeliver, [id], tx);
    if (row === undefined) throw new NotificationNotFoundError(id);
    if (row['notification.notificationId'] === null) {
      throw new InvalidNotificationTransitionError(
        id,
        'redelivered',
        row['statusBefore'] as DeliveryStatus,
        row['deliveryNumberBefore'] as number,
      );
    }
    return toNotification(row, 'notification.');
  }

  /**
   * Makes the failed notifications that match a filter pending again, as {@link redeliver} does for one. The
   * oldest come first, in batches of 1,000. Each batch is a separate transaction. Never joins a transaction.
   * After an error the earlier batches are done: call it again.
   *
   * @param filter - which notifications; `limit`: how many at the most; `dryRun`: only count them
   * @returns how many matched, and how many of them were changed here
   */
  async redeliverNotifications(filter: RedeliverNotificationsFilter): Promise<BulkOutcome> {
    const operation = 'redeliverNotifications';
    const read = readInput(operation, RedeliverNotificationsFilter, filter);
    return redeliverNotifications(this.db, read);
  }

  private async settle(
    operation: string,
    notification: NotificationHandle,
    options: TransactionOptions | undefined,
    outcome: { next: DeliveryStatus; errorMessage?: string; retryInMs?: number },
  ): Promise<NotificationLog> {
    const tx = this.db.readOptions(operation, options);
    const { notificationId, deliveryNumber } = readInput(
      operation,
      NotificationHandle,
      notification,
      { strict: false, path: 'notification' },
    );
    const values = [
      notificationId,
      deliveryNumber,
      outcome.next,
      outcome.errorMessage ?? null,
      outcome.retryInMs ?? 0,
    ];
    const [row] = await this.db.run<Row>(operation, statements.settleNotification, values, tx);
    if (row === undefined) throw new NotificationNotFoundError(notificationId);
    if (row['notification.notificationId'] === null) {
      throw new LeaseLostError({
        notificationId,
        status: row['statusBefore'] as DeliveryStatus,
        deliveryNumber: row['deliveryNumberBefore'] as number,
      });
    }
    return toNotification(row, 'notification.');
  }
}
