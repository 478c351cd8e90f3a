import { Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import type { Relation } from 'typeorm';
import { Named } from './named.js';
import { VideoJob } from './video-job.entity.js';

/** The error of one run of a job: the run failed, or its worker was lost. */
@Named('JobAttemptError')
@Entity({ name: 'job_attempt_errors' })
export class JobAttemptError {
  /** The job. */
  @PrimaryColumn({
    name: 'jobId',
    type: 'uuid',
    primaryKeyConstraintName: 'pk_job_attempt_errors',
  })
  jobId!: string;

  /** The run of the job that failed or was lost. */
  @PrimaryColumn({
    name: 'runNumber',
    type: 'integer',
    primaryKeyConstraintName: 'pk_job_attempt_errors',
  })
  runNumber!: number;

  /** The job as an entity, where the query loads this relation. */
  @ManyToOne(() => VideoJob, { onDelete: 'CASCADE', nullable: false })
  @JoinColumn({
    name: 'jobId',
    referencedColumnName: 'jobId',
    foreignKeyConstraintName: 'fk_job_attempt_errors_job',
  })
  job?: Relation<VideoJob>;

  /** The worker of the run; null for a run without a lease. */
  @Column({ name: 'workerId', type: 'varchar', length: 255, nullable: true })
  workerId!: string | null;

  /** The text of the error. */
  @Column({ name: 'errorMessage', type: 'text' })
  errorMessage!: string;

  /** When the error was recorded. */
  @Column({ name: 'createdAt', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
