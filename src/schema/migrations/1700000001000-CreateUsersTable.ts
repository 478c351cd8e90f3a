import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tableName } from './table-name.js';

/** Creates `users`. Existing databases have run it: it never changes. */
export class CreateUsersTable1700000001000 implements MigrationInterface {
  readonly name = 'CreateUsersTable1700000001000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const users = tableName(queryRunner, 'users');
    await queryRunner.query(`
      CREATE TABLE ${users} (
        "userId" uuid NOT NULL DEFAULT gen_random_uuid(),
        "username" varchar(50) NOT NULL,
        "email" varchar(255) NOT NULL,
        "passwordHash" varchar(255) NOT NULL,
        "createdAt" timestamptz(3) NOT NULL DEFAULT now(),
        "updatedAt" timestamptz(3) NOT NULL DEFAULT now(),
        CONSTRAINT "pk_users" PRIMARY KEY ("userId"),
        CONSTRAINT "uq_users_username" UNIQUE ("username"),
        CONSTRAINT "uq_users_email" UNIQUE ("email")
      )`);
    await queryRunner.query(`CREATE INDEX "idx_users_username" ON ${users} ("username")`);
    await queryRunner.query(`CREATE INDEX "idx_users_email" ON ${users} ("email")`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`DROP TABLE ${tableName(queryRunner, 'users')}`);
  }
}
