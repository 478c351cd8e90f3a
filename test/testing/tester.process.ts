// A process of a test run: makes a database, reports it, and ends in the way that its argument names.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { createTestDatabase } from '../../src/testing/index.js';
import { query } from '../support/query.js';

let migrated = false;

/** A slow migration. Without a lock, all processes that begin together would run it. */
class Slow1800000004000 implements MigrationInterface {
  readonly name = 'Slow1800000004000';
  async up(queryRunner: QueryRunner): Promise<void> {
    migrated = true;
    await queryRunner.query('SELECT pg_sleep(0.5)');
  }
  async down(): Promise<void> {}
}

const [ending, schema] = process.argv.slice(2);
const database = await createTestDatabase({ schema, migrations: [Slow1800000004000] });
const [row] = await query(database.url, `SELECT current_setting('data_directory') AS directory`);
const directory = String(row?.['directory']);
const postgres = Number.parseInt(readFileSync(join(directory, 'postmaster.pid'), 'utf8'), 10);
const told = { pid: process.pid, url: database.url, directory, postgres, migrated };
process.stdout.write(`${JSON.stringify(told)}\n`);

if (ending === 'drop') await database.drop();
if (ending === 'wait') setInterval(() => {}, 1000);
