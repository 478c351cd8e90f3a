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
import { IS_LEASED, IS_PENDING, IS_PENDING_OF_USER } from '../queue.indexes.js';
import { JobStatus } from './job-status.js';
import { Named } from './named.js';
import { User } from './user.entity.js';

/**
 * A video to extract frames from, and the state of that work.
 *
 * Only `JobService` writes the columns from `availableAt` on. A repository's `save` and `update` leave them
 * unchanged, so saving an entity that was read long ago does not set back a fencing token. In the other columns such a
 * `save` may end a run; if it would do more, it is refused with a `StaleEntityError`.
 */
@Named('VideoJob')
@Entity({ name: 'video_jobs' })
@Check('chk_jobs_status', `"status" IN ('pending', 'processing', 'completed', 'failed')`)
@Check('chk_jobs_progress', `"progress" BETWEEN 0 AND 100`)
@Check('chk_jobs_cancelled', `"cancelledAt" IS NULL OR "status" = 'failed'`)
@Check('chk_jobs_parameters_size', `octet_length("parameters"::text) <= 65536`)
@Check('chk_jobs_output_size', `octet_length("output"::text) <= 65536`)
@Index('idx_jobs_user_id', ['userId'])
@Index('idx_jobs_status', ['status'])
@Index('idx_jobs_created_at', ['createdAt'])
@Index('idx_jobs_user_status', ['userId', 'status'])
@Index('idx_jobs_user_created_at', ['userId', 'createdAt', 'jobId'])
@Index('idx_jobs_pending', ['availableAt'], { where: IS_PENDING })
@Index('idx_jobs_leased', ['availableAt'], { where: IS_LEASED })
@Index('idx_jobs_pending_user', ['userId', 'availableAt'], { where: IS_PENDING_OF_USER })
export class VideoJob {
  /** The key. */
  @PrimaryGeneratedColumn('uuid', { name: 'jobId', primaryKeyConstraintName: 'pk_video_jobs' })
  jobId!: string;

  /** Whose job it is. */
  @Column({ name: 'userId', type: 'uuid' })
  userId!: string;

  /** The user as an entity, where the query loads this relation. */
  @ManyToOne(() => User, { onDelete: 'CASCADE', nullable: false })
  @JoinColumn({
    name: 'userId',
    referencedColumnName: 'userId',
    foreignKeyConstraintName: 'fk_video_jobs_user',
  })
  user?: Relation<User>;

  /** The name of the uploaded file, as the user knows it. */
  @Column({ name: 'filename', type: 'varchar', length: 255 })
  filename!: string;

  /** Where the job is in its life. */
  @Column({ name: 'status', type: 'varchar', length: 20, default: JobStatus.PENDING })
  status!: JobStatus;

  /** Where the video is: a URL with a scheme. */
  @Column({ name: 'videoUrl', type: 'text' })
  videoUrl!: string;

  /** Where the extracted frames are; null unless the job is completed. */
  @Column({ name: 'resultUrl', type: 'text', nullable: true })
  resultUrl!: string | null;

  /** How many frames were extracted; null unless the job is completed. */
  @Column({ name: 'frameCount', type: 'integer', nullable: true })
  frameCount!: number | null;

  /** Why the job failed, for its user; null unless it has. */
  @Column({ name: 'errorMessage', type: 'text', nullable: true })
  errorMessage!: string | null;

  /** When the job was created. */
  @Column({ name: 'createdAt', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  /** When the latest run started; null while the job waits. */
  @Column({ name: 'startedAt', type: 'timestamptz', precision: 3, nullable: true })
  startedAt!: Date | null;

  /** When the job became completed or failed. */
  @Column({ name: 'completedAt', type: 'timestamptz', precision: 3, nullable: true })
  completedAt!: Date | null;

  /**
   * The time from which the job may be claimed: when a pending job is due, or when the lease of a processing
   * job ends.
   */
  @Column({
    name: 'availableAt',
    type: 'timestamptz',
    precision: 3,
    default: () => NOW,
    update: false,
  })
  availableAt!: Date;

  /** The fencing token: grows at every claim, start and cancellation, and is never issued twice. */
  @Column({ name: 'runNumber', type: 'integer', default: 0, update: false })
  runNumber!: number;

  /** Who holds the lease; null when nobody holds it, or when the job was started without a lease. */
  @Column({ name: 'workerId', type: 'varchar', length: 255, nullable: true, update: false })
  workerId!: string | null;

  /** How many of the tries that `maxAttempts` allows have been used. */
  @Column({ name: 'attempts', type: 'integer', default: 0, update: false })
  attempts!: number;

  /** How far the latest run has come, in percent, from 0 to 100; null before the first run. */
  @Column({ name: 'progress', type: 'smallint', nullable: true, update: false })
  progress!: number | null;

  /** The latest message about the progress of the latest run; null if there is none. */
  @Column({ name: 'progressMessage', type: 'varchar', length: 255, nullable: true, update: false })
  progressMessage!: string | null;

  /** When a job that is `failed` was cancelled; null when it was not. */
  @Column({
    name: 'cancelledAt',
    type: 'timestamptz',
    precision: 3,
    nullable: true,
    update: false,
  })
  cancelledAt!: Date | null;

  /** What the handler should do, in the application's own form; at most 64 KB of JSON. */
  @Column({ name: 'parameters', type: 'jsonb', nullable: true, update: false })
  parameters!: Record<string, unknown> | null;

  /** Further results, in the application's own form; at most 64 KB of JSON. */
  @Column({ name: 'output', type: 'jsonb', nullable: true, update: false })
  output!: Record<string, unknown> | null;
}
