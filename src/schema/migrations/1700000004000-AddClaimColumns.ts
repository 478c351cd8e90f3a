import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tableName } from './table-name.js';

/**
 * Makes `video_jobs` and `notification_log` queues. It only adds, with defaults, so that services
 * which know the first three migrations go on working; no default rewrites the table.
 */
export class AddClaimColumns1700000004000 implements MigrationInterface {
  readonly name = 'AddClaimColumns1700000004000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const jobs = tableName(queryRunner, 'video_jobs');
    const log = tableName(queryRunner, 'notification_log');
    // Truncated, not rounded: rounding up would hide a new row for half a millisecond.
    const now = `date_trunc('milliseconds', statement_timestamp())`;
    await queryRunner.query(`
      ALTER TABLE ${jobs}
        ADD COLUMN "availableAt" timestamptz(3) NOT NULL DEFAULT ${now},
        ADD COLUMN "runNumber" integer NOT NULL DEFAULT 0,
        ADD COLUMN "workerId" varchar(255),
        ADD COLUMN "attempts" integer NOT NULL DEFAULT 0`);
    await queryRunner.query(`
      ALTER TABLE ${log}
        ADD COLUMN "availableAt" timestamptz(3) NOT NULL DEFAULT ${now},
        ADD COLUMN "deliveryNumber" integer NOT NULL DEFAULT 0,
        ADD COLUMN "runNumber" integer,
        ADD CONSTRAINT "uq_notifications_job_run" UNIQUE ("jobId", "runNumber")`);
    await queryRunner.query(`
      CREATE INDEX "idx_jobs_claimable" ON ${jobs} ("availableAt")
        WHERE "status" = 'pending' OR ("status" = 'processing' AND "workerId" IS NOT NULL)`);
    await queryRunner.query(`
      CREATE INDEX "idx_jobs_user_created_at" ON ${jobs} ("userId", "createdAt", "jobId")`);
    await queryRunner.query(`
      CREATE INDEX "idx_notifications_claimable" ON ${log} ("availableAt")
        WHERE "deliveryStatus" = 'pending'`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    // Dropping a column drops the indexes and constraints that contain it.
    await queryRunner.query(`
      ALTER TABLE ${tableName(queryRunner, 'notification_log')}
        DROP COLUMN "runNumber",
        DROP COLUMN "deliveryNumber",
        DROP COLUMN "availableAt"`);
    await queryRunner.query(`DROP INDEX ${tableName(queryRunner, 'idx_jobs_user_created_at')}`);
    await queryRunner.query(`
      ALTER TABLE ${tableName(queryRunner, 'video_jobs')}
        DROP COLUMN "attempts",
        DROP COLUMN "workerId",
        DROP COLUMN "runNumber",
        DROP COLUMN "availableAt"`);
  }
}
