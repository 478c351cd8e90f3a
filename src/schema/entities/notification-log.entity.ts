import {
  Check,
  Column,
  Entity,
  Index,
  JoinColumn,
  ManyToOne,
  PrimaryGeneratedColumn,
} from 'typeorm';
import { NOW } from '../now.js';
import type { Relation } from 'typeorm';
import { IS_UNDELIVERED } from '../queue.indexes.js';
import { Named } from './named.js';
import { DeliveryStatus, NotificationType } from './notification-status.js';
import { VideoJob } from './video-job.entity.js';

/**
 * The notification of a finished job for its user, and the state of its delivery.
 *
 * Only the services write `availableAt`, `deliveryNumber` and `runNumber`: a repository's `save` and
 * `update` leave them as they are. A `save` that would set an older state of the delivery back is refused with a
 * `StaleEntityError`.
 */
@Named('NotificationLog')
@Entity({ name: 'notification_log' })
@Check('chk_notifications_type', `"notificationType" IN ('success', 'failure')`)
@Check('chk_notifications_delivery_status', `"deliveryStatus" IN ('pending', 'sent', 'failed')`)
@Index('idx_notifications_job_id', ['jobId'])
@Index('idx_notifications_status', ['deliveryStatus'])
@Index('uq_notifications_job_run', ['jobId', 'runNumber'], { unique: true })
@Index('idx_notifications_claimable', ['availableAt'], { where: IS_UNDELIVERED })
export class NotificationLog {
  /** The key. Give it to a mail provider as the idempotency key of the delivery. */
  @PrimaryGeneratedColumn('uuid', {
    name: 'notificationId',
    primaryKeyConstraintName: 'pk_notification_log',
  })
  notificationId!: string;

  /** The job that this reports. */
  @Column({ name: 'jobId', type: 'uuid' })
  jobId!: string;

  /** The job as an entity, where the query loads this relation. */
  @ManyToOne(() => VideoJob, { onDelete: 'CASCADE', nullable: false })
  @JoinColumn({
    name: 'jobId',
    referencedColumnName: 'jobId',
    foreignKeyConstraintName: 'fk_notification_log_job',
  })
  job?: Relation<VideoJob>;

  /** Whether the job was completed or failed. */
  @Column({ name: 'notificationType', type: 'varchar', length: 20 })
  notificationType!: NotificationType;

  /** The e-mail address of the job's user at the moment when the job ended. */
  @Column({ name: 'recipientEmail', type: 'varchar', length: 255 })
  recipientEmail!: string;

  /** How far the delivery has come. */
  @Column({ name: 'deliveryStatus', type: 'varchar', length: 20, default: DeliveryStatus.PENDING })
  deliveryStatus!: DeliveryStatus;

  /** How many times the delivery was tried again, or is going to be. */
  @Column({ name: 'retryCount', type: 'integer', default: 0 })
  retryCount!: number;

  /** Why the last delivery failed; null if none has. */
  @Column({ name: 'errorMessage', type: 'text', nullable: true })
  errorMessage!: string | null;

  /** When the job ended. */
  @Column({ name: 'createdAt', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  /** When the notification was delivered; null before. */
  @Column({ name: 'sentAt', type: 'timestamptz', precision: 3, nullable: true })
  sentAt!: Date | null;

  /** The time from which the delivery may be claimed: when it is due, or when its lease ends. */
  @Column({
    name: 'availableAt',
    type: 'timestamptz',
    precision: 3,
    default: () => NOW,
    update: false,
  })
  availableAt!: Date;

  /** The fencing token of deliveries. It grows at every claim, and when somebody asks for another delivery. */
  @Column({ name: 'deliveryNumber', type: 'integer', default: 0, update: false })
  deliveryNumber!: number;

  /** The run of the job that this reports; null in rows of older services, which do not know runs. */
  @Column({ name: 'runNumber', type: 'integer', nullable: true, update: false })
  runNumber!: number | null;
}
