import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { Named } from './named.js';

/** The work of one worker process in one minute. */
@Named('WorkerReport')
@Entity({ name: 'worker_reports' })
@Index('idx_worker_reports_minute', ['minute'])
export class WorkerReport {
  /** The worker, unique to one process incarnation. */
  @PrimaryColumn({
    name: 'workerId',
    type: 'varchar',
    length: 255,
    primaryKeyConstraintName: 'pk_worker_reports',
  })
  workerId!: string;

  /** The beginning of the minute. */
  @PrimaryColumn({
    name: 'minute',
    type: 'timestamptz',
    precision: 3,
    primaryKeyConstraintName: 'pk_worker_reports',
  })
  minute!: Date;

  /** When the worker started. */
  @Column({ name: 'startedAt', type: 'timestamptz', precision: 3 })
  startedAt!: Date;

  /** How many jobs the worker can run at once. */
  @Column({ name: 'places', type: 'integer' })
  places!: number;

  /** How many jobs the worker was running when it last reported in this minute. */
  @Column({ name: 'running', type: 'integer' })
  running!: number;

  /** How many runs were completed. */
  @Column({ name: 'completed', type: 'integer', default: 0 })
  completed!: number;

  /** How many jobs failed for good. */
  @Column({ name: 'failed', type: 'integer', default: 0 })
  failed!: number;

  /** How many runs failed and are tried again. */
  @Column({ name: 'retried', type: 'integer', default: 0 })
  retried!: number;

  /** How many notifications were delivered. */
  @Column({ name: 'delivered', type: 'integer', default: 0 })
  delivered!: number;

  /** How many deliveries failed, for good or with another try. */
  @Column({ name: 'undelivered', type: 'integer', default: 0 })
  undelivered!: number;

  /** The sum of the times that the started jobs had waited, in milliseconds. */
  @Column({ name: 'waitedMs', type: 'double precision', default: 0 })
  waitedMs!: number;

  /** A histogram of the waiting times: counts in buckets of powers of two of a millisecond. */
  @Column({ name: 'waitedHistogram', type: 'integer', array: true, default: () => `'{}'` })
  waitedHistogram!: number[];

  /** The sum of the times that the ended runs had taken, in milliseconds. */
  @Column({ name: 'ranMs', type: 'double precision', default: 0 })
  ranMs!: number;

  /** A histogram of the running times: counts in buckets of powers of two of a millisecond. */
  @Column({ name: 'ranHistogram', type: 'integer', array: true, default: () => `'{}'` })
  ranHistogram!: number[];
}
