import type { MigrationInterface, QueryRunner } from 'typeorm';
import { MigrationError } from '../../errors.js';
import { definitionOf, QUEUE_INDEXES } from '../queue.indexes.js';
import type { QueueIndex } from '../queue.indexes.js';
import { withLockedTables, withoutTimeouts } from './locked-tables.js';
import { tableName } from './table-name.js';

const CHECKS = [
  'chk_jobs_progress',
  'chk_jobs_cancelled',
  'chk_jobs_parameters_size',
  'chk_jobs_output_size',
];

/**
 * Builds the indexes of the queues, and validates the constraints that `AddQueueColumns1700000004000`
 * added. Reads go on meanwhile. Writes wait while an index is built. An index that exists already is kept:
 * `frameforge-db migrate --online` has built it before, while writes went on.
 */
export class AddQueueIndexes1700000006000 implements MigrationInterface {
  readonly name = 'AddQueueIndexes1700000006000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const missing = await missingIndexes(queryRunner);
    const jobs = tableName(queryRunner, 'video_jobs');
    if (missing.length > 0) {
      const tables = new Set(missing.map(({ table }) => tableName(queryRunner, table)));
      await withLockedTables(queryRunner, 'SHARE', [...tables], async () => {
        for (const index of missing) await queryRunner.query(creationOf(queryRunner, index));
      });
    }
    // One statement validates all constraints, so it reads the table only once.
    const validations = CHECKS.map((check) => `VALIDATE CONSTRAINT "${check}"`);
    await withLockedTables(queryRunner, 'SHARE UPDATE EXCLUSIVE', [jobs], () =>
      queryRunner.query(`ALTER TABLE ${jobs} ${validations.join(', ')}`),
    );
  }

  /**
   * Builds the missing indexes while reads and writes go on. `up` then keeps them. A transaction cannot build
   * indexes in this way. An invalid index of an earlier try is dropped first.
   */
  async upOnline(queryRunner: QueryRunner): Promise<void> {
    await withoutTimeouts(queryRunner, async () => {
      for (const index of QUEUE_INDEXES) {
        const name = tableName(queryRunner, index.name);
        const [found] = (await queryRunner.query(
          `SELECT indisvalid AS "valid" FROM pg_index
           WHERE indexrelid = to_regclass($1) AND indrelid = to_regclass($2)`,
          [name, tableName(queryRunner, index.table)],
        )) as { valid: boolean }[];
        // The DROP waits if the server still builds the index for a client that has died.
        if (found?.valid === false) {
          await queryRunner.query(`DROP INDEX CONCURRENTLY IF EXISTS ${name}`);
        }
      }
      for (const index of await missingIndexes(queryRunner)) {
        await queryRunner.query(creationOf(queryRunner, index, true));
      }
    });
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const { name } of QUEUE_INDEXES) {
      await queryRunner.query(`DROP INDEX ${tableName(queryRunner, name)}`);
    }
  }
}

/**
 * Finds the indexes of the queues that must still be built.
 *
 * @throws MigrationError if another index, or an invalid index, has the name of one of them
 */
async function missingIndexes(queryRunner: QueryRunner): Promise<QueueIndex[]> {
  const missing: QueueIndex[] = [];
  for (const index of QUEUE_INDEXES) {
    const [found] = (await queryRunner.query(
      `SELECT i.indisvalid AND i.indisunique = $2 AND i.indrelid = to_regclass($3)
          AND right(pg_get_indexdef(i.indexrelid), length($4)) = $4 AS "same",
        pg_get_indexdef(i.indexrelid) AS "definition", i.indisvalid AS "valid"
       FROM pg_index i WHERE i.indexrelid = to_regclass($1)`,
      [
        tableName(queryRunner, index.name),
        index.unique,
        tableName(queryRunner, index.table),
        ` ${definitionOf(index)}`,
      ],
    )) as { same: boolean; definition: string; valid: boolean }[];
    if (found === undefined) missing.push(index);
    else if (!found.same) {
      throw new MigrationError(
        `The index ${index.name} exists, but ${found.valid ? 'has another definition' : 'is invalid'}: ` +
          `${found.definition}. Drop it, and migrate again: ` +
          `DROP INDEX CONCURRENTLY ${tableName(queryRunner, index.name)}.`,
      );
    }
  }
  return missing;
}

/** @param concurrently - whether writes go on during the build, which is not possible in a transaction */
function creationOf(queryRunner: QueryRunner, index: QueueIndex, concurrently = false): string {
  const kind = `${index.unique ? 'UNIQUE ' : ''}INDEX${concurrently ? ' CONCURRENTLY' : ''}`;
  const table = tableName(queryRunner, index.table);
  return `CREATE ${kind} "${index.name}" ON ${table} ${definitionOf(index)}`;
}
