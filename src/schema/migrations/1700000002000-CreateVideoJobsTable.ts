import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tableName } from './table-name.js';

/** Creates `video_jobs`. Existing databases have run it: it never changes. */
export class CreateVideoJobsTable1700000002000 implements MigrationInterface {
  readonly name = 'CreateVideoJobsTable1700000002000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const users = tableName(queryRunner, 'users');
    const jobs = tableName(queryRunner, 'video_jobs');
    await queryRunner.query(`
      CREATE TABLE ${jobs} (
        "jobId" uuid NOT NULL DEFAULT gen_random_uuid(),
        "userId" uuid NOT NULL,
        "filename" varchar(255) NOT NULL,
        "status" varchar(20) NOT NULL DEFAULT 'pending',
        "videoUrl" text NOT NULL,
        "resultUrl" text,
        "frameCount" integer,
        "errorMessage" text,
        "createdAt" timestamptz(3) NOT NULL DEFAULT now(),
        "startedAt" timestamptz(3),
        "completedAt" timestamptz(3),
        CONSTRAINT "pk_video_jobs" PRIMARY KEY ("jobId"),
        CONSTRAINT "fk_video_jobs_user" FOREIGN KEY ("userId")
          REFERENCES ${users} ("userId") ON DELETE CASCADE,
        CONSTRAINT "chk_jobs_status"
          CHECK ("status" IN ('pending', 'processing', 'completed', 'failed'))
      )`);
    await queryRunner.query(`CREATE INDEX "idx_jobs_user_id" ON ${jobs} ("userId")`);
    await queryRunner.query(`CREATE INDEX "idx_jobs_status" ON ${jobs} ("status")`);
    await queryRunner.query(`CREATE INDEX "idx_jobs_created_at" ON ${jobs} ("createdAt")`);
    await queryRunner.query(`CREATE INDEX "idx_jobs_user_status" ON ${jobs} ("userId", "status")`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`DROP TABLE ${tableName(queryRunner, 'video_jobs')}`);
  }
}
