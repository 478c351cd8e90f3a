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
    // A service that does not know "workerId" leaves it behind when it fails a leased job by hand. Its
    // next start would look leased, and be taken from it.
    const clear = tableName(queryRunner, 'frameforge_clear_worker');
    await queryRunner.query(`
      CREATE FUNCTION ${clear}() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW."workerId" := NULL;
        RETURN NEW;
      END $$`);
    await queryRunner.query(`
      CREATE TRIGGER "trg_jobs_clear_worker" BEFORE UPDATE OF "status" ON ${jobs} FOR EACH ROW
        WHEN (OLD."status" = 'processing' AND NEW."status" <> 'processing'
          AND NEW."workerId" IS NOT NULL)
        EXECUTE FUNCTION ${clear}()`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const jobs = tableName(queryRunner, 'video_jobs');
    await queryRunner.query(`DROP TRIGGER "trg_jobs_clear_worker" ON ${jobs}`);
    await queryRunner.query(`
      DROP FUNCTION ${tableName(queryRunner, 'frameforge_clear_worker')}()`);
    // Dropping a column drops the indexes and constraints that contain it.
    await queryRunner.query(`
      ALTER TABLE ${tableName(queryRunner, 'notification_log')}
        DROP COLUMN "runNumber",
        DROP COLUMN "deliveryNumber",
        DROP COLUMN "availableAt"`);
    await queryRunner.query(`DROP INDEX ${tableName(queryRunner, 'idx_jobs_user_created_at')}`);
    await queryRunner.query(`
      ALTER TABLE ${jobs}
        DROP COLUMN "attempts",
        DROP COLUMN "workerId",
        DROP COLUMN "runNumber",
        DROP COLUMN "availableAt"`);
  }
}
