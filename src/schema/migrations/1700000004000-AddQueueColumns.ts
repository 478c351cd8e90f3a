import { NOW } from '../now.js';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { withLockedTables } from './locked-tables.js';
import { tableName } from './table-name.js';

/**
 * Turns `video_jobs` and `notification_log` into queues. It adds the columns, and triggers that keep the rules
 * even when somebody writes to the tables by hand. It only adds, with defaults, so that services that know
 * only the first three migrations go on working. It neither rewrites nor reads a table, so it holds the locks
 * only for a moment. `AddQueueIndexes1700000006000` does the rest.
 */
export class AddQueueColumns1700000004000 implements MigrationInterface {
  readonly name = 'AddQueueColumns1700000004000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const jobs = tableName(queryRunner, 'video_jobs');
    const log = tableName(queryRunner, 'notification_log');
    const setColumns = tableName(queryRunner, 'frameforge_set_queue_columns');
    const refuse = tableName(queryRunner, 'frameforge_refuse_update');
    // Times are truncated, because a time that is rounded up would hide a new row for half a millisecond.
    await withLockedTables(queryRunner, 'ACCESS EXCLUSIVE', [jobs, log], async () => {
      await queryRunner.query(`
        ALTER TABLE ${jobs}
          ADD COLUMN "availableAt" timestamptz(3) NOT NULL DEFAULT ${NOW},
          ADD COLUMN "runNumber" integer NOT NULL DEFAULT 0,
          ADD COLUMN "workerId" varchar(255),
          ADD COLUMN "attempts" integer NOT NULL DEFAULT 0,
          ADD COLUMN "progress" smallint,
          ADD COLUMN "progressMessage" varchar(255),
          ADD COLUMN "cancelledAt" timestamptz(3),
          ADD COLUMN "parameters" jsonb,
          ADD COLUMN "output" jsonb,
          ADD CONSTRAINT "chk_jobs_progress" CHECK ("progress" BETWEEN 0 AND 100) NOT VALID,
          ADD CONSTRAINT "chk_jobs_cancelled"
            CHECK ("cancelledAt" IS NULL OR "status" = 'failed') NOT VALID,
          ADD CONSTRAINT "chk_jobs_parameters_size"
            CHECK (octet_length("parameters"::text) <= 65536) NOT VALID,
          ADD CONSTRAINT "chk_jobs_output_size"
            CHECK (octet_length("output"::text) <= 65536) NOT VALID`);
      await queryRunner.query(`
        ALTER TABLE ${log}
          ADD COLUMN "availableAt" timestamptz(3) NOT NULL DEFAULT ${NOW},
          ADD COLUMN "deliveryNumber" integer NOT NULL DEFAULT 0,
          ADD COLUMN "runNumber" integer`);
      // A service of an older version does not know these columns, so the trigger sets them for it:
      // - "workerId", when the service ends a leased run. Otherwise its next start of the job would look
      //   leased, and a worker would take the job.
      // - "attempts", "cancelledAt" and "availableAt", when the service retries a failed job. Otherwise the
      //   job would be due only at the end of the failed run's lease.
      // - "progress", when the service retries or completes a job.
      await queryRunner.query(`
        CREATE OR REPLACE FUNCTION ${setColumns}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF NEW."status" = 'completed' THEN
            NEW."progress" := 100;
          END IF;
          IF OLD."status" = 'processing' THEN
            NEW."workerId" := NULL;
          ELSIF OLD."status" = 'failed' AND NEW."status" = 'pending'
            AND (NEW."attempts" <> 0 OR NEW."cancelledAt" IS NOT NULL
              OR NEW."availableAt" = OLD."availableAt") THEN
            NEW."attempts" := 0;
            NEW."cancelledAt" := NULL;
            NEW."availableAt" := ${NOW};
            NEW."progress" := 0;
            NEW."progressMessage" := NULL;
          END IF;
          RETURN NEW;
        END $$`);
      // Each statement parses the conditions of the triggers anew. So this one is short: it is false for a
      // claim and for a completion by the services, and the function looks closer.
      await queryRunner.query(`
        CREATE TRIGGER "trg_jobs_set_queue_columns" BEFORE UPDATE OF "status" ON ${jobs}
          FOR EACH ROW WHEN (NEW."status" <> 'processing'
            AND (NEW."workerId" IS NOT NULL OR NEW."progress" IS DISTINCT FROM 100
              OR NEW."status" = 'pending'))
          EXECUTE FUNCTION ${setColumns}()`);
      // Without this trigger, somebody who saves a whole row that was read long ago could issue a fencing token
      // twice, or run a finished job again.
      await queryRunner.query(`
        CREATE OR REPLACE FUNCTION ${refuse}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION USING
            ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
            MESSAGE = format('An update of %I was refused: %s.', TG_TABLE_NAME, TG_ARGV[0]),
            HINT = 'Read the row again: it has changed since it was read.';
        END $$`);
      await queryRunner.query(`
        CREATE TRIGGER "trg_jobs_refuse_smaller_run" AFTER UPDATE OF "runNumber" ON ${jobs}
          FOR EACH ROW WHEN (NEW."runNumber" < OLD."runNumber")
          EXECUTE FUNCTION ${refuse}('"runNumber" never becomes smaller')`);
      await queryRunner.query(`
        CREATE TRIGGER "trg_jobs_refuse_uncompleting" AFTER UPDATE OF "status" ON ${jobs}
          FOR EACH ROW WHEN (OLD."status" = 'completed' AND NEW."status" <> OLD."status")
          EXECUTE FUNCTION ${refuse}('a completed job is final')`);
      await queryRunner.query(`
        CREATE TRIGGER "trg_notifications_refuse_smaller_delivery"
          AFTER UPDATE OF "deliveryNumber" ON ${log}
          FOR EACH ROW WHEN (NEW."deliveryNumber" < OLD."deliveryNumber")
          EXECUTE FUNCTION ${refuse}('"deliveryNumber" never becomes smaller')`);
      await queryRunner.query(`
        CREATE TRIGGER "trg_notifications_refuse_unsending" AFTER UPDATE OF "deliveryStatus" ON ${log}
          FOR EACH ROW WHEN (OLD."deliveryStatus" = 'sent' AND NEW."deliveryStatus" = 'pending')
          EXECUTE FUNCTION ${refuse}('what was sent is not sent again')`);
    });
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    const jobs = tableName(queryRunner, 'video_jobs');
    const log = tableName(queryRunner, 'notification_log');
    await withLockedTables(queryRunner, 'ACCESS EXCLUSIVE', [jobs, log], async () => {
      await queryRunner.query(`DROP TRIGGER "trg_jobs_set_queue_columns" ON ${jobs}`);
      await queryRunner.query(`DROP TRIGGER "trg_jobs_refuse_smaller_run" ON ${jobs}`);
      await queryRunner.query(`DROP TRIGGER "trg_jobs_refuse_uncompleting" ON ${jobs}`);
      await queryRunner.query(`DROP TRIGGER "trg_notifications_refuse_smaller_delivery" ON ${log}`);
      await queryRunner.query(`DROP TRIGGER "trg_notifications_refuse_unsending" ON ${log}`);
      for (const name of ['frameforge_set_queue_columns', 'frameforge_refuse_update']) {
        await queryRunner.query(`DROP FUNCTION ${tableName(queryRunner, name)}()`);
      }
      await queryRunner.query(`
        ALTER TABLE ${log}
          DROP COLUMN "runNumber",
          DROP COLUMN "deliveryNumber",
          DROP COLUMN "availableAt"`);
      await queryRunner.query(`
        ALTER TABLE ${jobs}
          DROP COLUMN "output",
          DROP COLUMN "parameters",
          DROP COLUMN "cancelledAt",
          DROP COLUMN "progressMessage",
          DROP COLUMN "progress",
          DROP COLUMN "attempts",
          DROP COLUMN "workerId",
          DROP COLUMN "runNumber",
          DROP COLUMN "availableAt"`);
    });
  }
}
