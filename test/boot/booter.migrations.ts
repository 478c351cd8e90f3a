import type { MigrationInterface, QueryRunner } from 'typeorm';
import { migration } from '../connection/boot.js';

type Migrations = readonly (new () => MigrationInterface)[];

let steps = 0;

/** Pauses for a moment, and tells the parent process, which may kill this process then. */
async function pause(runner: QueryRunner): Promise<void> {
  process.send?.({ step: ++steps });
  await runner.query('SELECT pg_sleep(0.02)');
}

/** Creates a table. This fails if it is done twice. */
const slow = (name: string): Migrations[number] =>
  migration(`${name}`, async (runner) => {
    await pause(runner);
    await runner.query(`CREATE TABLE "${name}" (n int)`);
    await pause(runner);
    await runner.query(`INSERT INTO "${name}" VALUES (1)`);
    await pause(runner);
  });

/** How often the migrations of `slow` pause. */
export const PAUSES = 15;

/** Migrations of an application whose timestamps lie between those of this package. */
export const HOST_MIGRATIONS = {
  none: [],
  concurrently: [
    migration(
      'IndexConcurrently1700000002500',
      (runner) => runner.query('CREATE INDEX CONCURRENTLY idx_host ON users ("updatedAt")'),
      { transaction: false },
    ),
  ],
  slow: [
    slow('Before1700000000500'),
    slow('Between1700000001500'),
    migration(
      'SlowIndex1700000002500',
      async (runner) => {
        await pause(runner);
        // Without a transaction nothing is rolled back. So it removes the table of a killed try itself.
        await runner.query('DROP INDEX CONCURRENTLY IF EXISTS idx_host');
        await pause(runner);
        await runner.query('CREATE INDEX CONCURRENTLY idx_host ON users ("updatedAt")');
        await pause(runner);
      },
      { transaction: false },
    ),
    slow('Later1700000003500'),
    slow('After1800000000000'),
  ],
} satisfies Record<string, Migrations>;
