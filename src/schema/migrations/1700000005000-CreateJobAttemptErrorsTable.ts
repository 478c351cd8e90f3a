import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tableName } from './table-name.js';

/** Creates `job_attempt_errors`: a row for each run that failed or was lost, none for the others. */
export class CreateJobAttemptErrorsTable1700000005000 implements MigrationInterface {
  readonly name = 'CreateJobAttemptErrorsTable1700000005000';

  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      CREATE TABLE ${tableName(queryRunner, 'job_attempt_errors')} (
        "jobId" uuid NOT NULL,
        "runNumber" integer NOT NULL,
        "workerId" varchar(255),
        "errorMessage" text NOT NULL,
        "createdAt" timestamptz(3) NOT NULL DEFAULT now(),
        CONSTRAINT "pk_job_attempt_errors" PRIMARY KEY ("jobId", "runNumber"),
        CONSTRAINT "fk_job_attempt_errors_job" FOREIGN KEY ("jobId")
          REFERENCES ${tableName(queryRunner, 'video_jobs')} ("jobId") ON DELETE CASCADE
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`DROP TABLE ${tableName(queryRunner, 'job_attempt_errors')}`);
  }
}
