import type { MigrationInterface, QueryRunner } from 'typeorm';
import { withLockedTables } from './locked-tables.js';
import { tableName } from './table-name.js';

/**
 * Creates the tables beside the queues: `job_attempt_errors` (a row for each run that failed or whose worker
 * was lost), `processing_state` (one row: whether workers claim), and `worker_reports` (a row for each
 * worker process and minute).
 */
export class CreateJobTables1700000005000 implements MigrationInterface {
  readonly name = 'CreateJobTables1700000005000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const jobs = tableName(queryRunner, 'video_jobs');
    // A foreign key locks the table that it refers to.
    await withLockedTables(queryRunner, 'SHARE ROW EXCLUSIVE', [jobs], () =>
      queryRunner.query(`
        CREATE TABLE ${tableName(queryRunner, 'job_attempt_errors')} (
          "jobId" uuid NOT NULL,
          "runNumber" integer NOT NULL,
          "workerId" varchar(255),
          "errorMessage" text NOT NULL,
          "createdAt" timestamptz(3) NOT NULL DEFAULT now(),
          CONSTRAINT "pk_job_attempt_errors" PRIMARY KEY ("jobId", "runNumber"),
          CONSTRAINT "fk_job_attempt_errors_job" FOREIGN KEY ("jobId")
            REFERENCES ${jobs} ("jobId") ON DELETE CASCADE
        )`),
    );
    const state = tableName(queryRunner, 'processing_state');
    await queryRunner.query(`
      CREATE TABLE ${state} (
        "onlyRow" boolean NOT NULL DEFAULT true,
        "pausedAt" timestamptz(3),
        "reason" text,
        CONSTRAINT "pk_processing_state" PRIMARY KEY ("onlyRow"),
        CONSTRAINT "chk_processing_state_only_row" CHECK ("onlyRow")
      )`);
    await queryRunner.query(`INSERT INTO ${state} DEFAULT VALUES`);
    const reports = tableName(queryRunner, 'worker_reports');
    await queryRunner.query(`
      CREATE TABLE ${reports} (
        "workerId" varchar(255) NOT NULL,
        "minute" timestamptz(3) NOT NULL,
        "startedAt" timestamptz(3) NOT NULL,
        "places" integer NOT NULL,
        "running" integer NOT NULL,
        "completed" integer NOT NULL DEFAULT 0,
        "failed" integer NOT NULL DEFAULT 0,
        "retried" integer NOT NULL DEFAULT 0,
        "delivered" integer NOT NULL DEFAULT 0,
        "undelivered" integer NOT NULL DEFAULT 0,
        "waitedMs" double precision NOT NULL DEFAULT 0,
        "waitedHistogram" integer[] NOT NULL DEFAULT '{}',
        "ranMs" double precision NOT NULL DEFAULT 0,
        "ranHistogram" integer[] NOT NULL DEFAULT '{}',
        CONSTRAINT "pk_worker_reports" PRIMARY KEY ("workerId", "minute")
      )`);
    await queryRunner.query(`CREATE INDEX "idx_worker_reports_minute" ON ${reports} ("minute")`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const table of ['worker_reports', 'processing_state', 'job_attempt_errors']) {
      await queryRunner.query(`DROP TABLE ${tableName(queryRunner, table)}`);
    }
  }
}
