import type { MigrationInterface, QueryRunner } from 'typeorm';
import { MigrationError } from '../../errors.js';
import { definitionOf, QUEUE_INDEXES } from '../queue.indexes.js';
import type { QueueIndex } from '../queue.indexes.js';
import { withLockedTables } from './locked-tables.js';
import { tableName } from './table-name.js';

const CHECKS = [
  'chk_jobs_progress',
  'chk_jobs_cancelled',
  'chk_jobs_parameters_size',
  'chk_jobs_output_size',
];

/**
 * Builds the indexes of the queues, and validates the constraints that `AddQueueColumns1700000004000`
 * added. Reads go on meanwhile; writes wait while an index is built. An index that is there already
 * is kept: `frameforge-db migrate --online` builds them before, while writes go on too.
 */
export class AddQueueIndexes1700000006000 implements MigrationInterface {
  readonly name = 'AddQueueIndexes1700000006000';

  async up(queryRunner: QueryRunner): Promise<void> {
    const missing = await missingIndexes(queryRunner);
    if (missing.length > 0) {
      const tables = [...new Set(missing.map(({ table }) => table))];
      const names = tables.map((table) => tableName(queryRunner, table));
      await withLockedTables(queryRunner, 'SHARE', names, async () => {
        for (const index of missing) await queryRunner.query(creationOf(queryRunner, index));
      });
    }
    for (const check of CHECKS) {
      await queryRunner.query(
        `ALTER TABLE ${tableName(queryRunner, 'video_jobs')} VALIDATE CONSTRAINT "${check}"`,
      );
    }
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const { name } of QUEUE_INDEXES) {
      await queryRunner.query(`DROP INDEX ${tableName(queryRunner, name)}`);
    }
  }
}

/**
 * The indexes of the queues that are still to be built.
 *
 * @throws MigrationError if there is another index, or an invalid one, under the name of one of them
 */
export async function missingIndexes(queryRunner: QueryRunner): Promise<QueueIndex[]> {
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
        `The index ${index.name} exists, and is ${found.valid ? 'another one' : 'invalid'}: ` +
          `${found.definition}. Drop it, and migrate again: ` +
          `DROP INDEX ${tableName(queryRunner, index.name)}.`,
      );
    }
  }
  return missing;
}

/** @param concurrently - whether writes go on while it is built, which no transaction can do */
export function creationOf(
  queryRunner: QueryRunner,
  index: QueueIndex,
  concurrently = false,
): string {
  const kind = `${index.unique ? 'UNIQUE ' : ''}INDEX${concurrently ? ' CONCURRENTLY' : ''}`;
  const table = tableName(queryRunner, index.table);
  return `CREATE ${kind} "${index.name}" ON ${table} ${definitionOf(index)}`;
}
