import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tableName } from './table-name.js';

/** Creates `notification_log`. Existing databases have run it: it never changes. */
export class CreateNotificationLogTable1700000003000 implements MigrationInterface {
  readonly name = 'CreateNotificationLogTable1700000003000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const jobs = tableName(queryRunner, 'video_jobs');
    const log = tableName(queryRunner, 'notification_log');
    await queryRunner.query(`
      CREATE TABLE ${log} (
        "notificationId" uuid NOT NULL DEFAULT gen_random_uuid(),
        "jobId" uuid NOT NULL,
        "notificationType" varchar(20) NOT NULL,
        "recipientEmail" varchar(255) NOT NULL,
        "deliveryStatus" varchar(20) NOT NULL DEFAULT 'pending',
        "retryCount" integer NOT NULL DEFAULT 0,
        "errorMessage" text,
        "createdAt" timestamptz(3) NOT NULL DEFAULT now(),
        "sentAt" timestamptz(3),
        CONSTRAINT "pk_notification_log" PRIMARY KEY ("notificationId"),
        CONSTRAINT "fk_notification_log_job" FOREIGN KEY ("jobId")
          REFERENCES ${jobs} ("jobId") ON DELETE CASCADE,
        CONSTRAINT "chk_notifications_type"
          CHECK ("notificationType" IN ('success', 'failure')),
        CONSTRAINT "chk_notifications_delivery_status"
          CHECK ("deliveryStatus" IN ('pending', 'sent', 'failed'))
      )`);
    await queryRunner.query(`CREATE INDEX "idx_notifications_job_id" ON ${log} ("jobId")`);
    await queryRunner.query(`CREATE INDEX "idx_notifications_status" ON ${log} ("deliveryStatus")`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`DROP TABLE ${tableName(queryRunner, 'notification_log')}`);
  }
}
