import {
  Check,
  Column,
  Entity,
  Index,
  JoinColumn,
  ManyToOne,
  PrimaryGeneratedColumn,
} from 'typeorm';
import type { Relation } from 'typeorm';
import { JobStatus } from './job-status.enum.js';
import { User } from './user.entity.js';

/** The default of both queues' `availableAt`: now, never rounded up into the future. */
export const AVAILABLE_NOW = `date_trunc('milliseconds', statement_timestamp())`;

/** A video to extract frames from, and the state of that work. */
@Entity({ name: 'video_jobs' })
@Check('chk_jobs_status', `"status" IN ('pending', 'processing', 'completed', 'failed')`)
@Index('idx_jobs_user_id', ['userId'])
@Index('idx_jobs_status', ['status'])
@Index('idx_jobs_created_at', ['createdAt'])
@Index('idx_jobs_user_status', ['userId', 'status'])
@Index('idx_jobs_user_created_at', ['userId', 'createdAt', 'jobId'])
@Index('idx_jobs_claimable', ['availableAt'], {
  where: `"status" = 'pending' OR ("status" = 'processing' AND "workerId" IS NOT NULL)`,
})
export class VideoJob {
  @PrimaryGeneratedColumn('uuid', { name: 'jobId', primaryKeyConstraintName: 'pk_video_jobs' })
  jobId!: string;

  @Column({ name: 'userId', type: 'uuid' })
  userId!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE', nullable: false })
  @JoinColumn({
    name: 'userId',
    referencedColumnName: 'userId',
    foreignKeyConstraintName: 'fk_video_jobs_user',
  })
  user?: Relation<User>;

  @Column({ name: 'filename', type: 'varchar', length: 255 })
  filename!: string;

  @Column({ name: 'status', type: 'varchar', length: 20, default: JobStatus.PENDING })
  status!: JobStatus;

  @Column({ name: 'videoUrl', type: 'text' })
  videoUrl!: string;

  @Column({ name: 'resultUrl', type: 'text', nullable: true })
  resultUrl!: string | null;

  @Column({ name: 'frameCount', type: 'integer', nullable: true })
  frameCount!: number | null;

  @Column({ name: 'errorMessage', type: 'text', nullable: true })
  errorMessage!: string | null;

  @Column({ name: 'createdAt', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  /** When the latest run started; null while the job waits. */
  @Column({ name: 'startedAt', type: 'timestamptz', precision: 3, nullable: true })
  startedAt!: Date | null;

  /** When the job became completed or failed. */
  @Column({ name: 'completedAt', type: 'timestamptz', precision: 3, nullable: true })
  completedAt!: Date | null;

  /**
   * The time from which the job may be claimed: for a pending job when it is due, for a processing
   * one when its lease ends.
   */
  @Column({
    name: 'availableAt',
    type: 'timestamptz',
    precision: 3,
    default: () => AVAILABLE_NOW,
  })
  availableAt!: Date;

  /** The fencing token: grows at every claim and start, and is never issued twice. */
  @Column({ name: 'runNumber', type: 'integer', default: 0 })
  runNumber!: number;

  /** Who holds the lease; null when nobody does, or when the job was started without one. */
  @Column({ name: 'workerId', type: 'varchar', length: 255, nullable: true })
  workerId!: string | null;

  /** How many tries have been used of those that `maxAttempts` allows. */
  @Column({ name: 'attempts', type: 'integer', default: 0 })
  attempts!: number;
}
