import type { QueryRunner } from 'typeorm';
import { dataSourceOf } from '../../peers/typeorm.internals.js';

/**
 * The name of a table or index as SQL. It is quoted, and has the schema of the data source, if the data source
 * is configured with one.
 */
export function tableName(queryRunner: QueryRunner, name: string): string {
  const { schema } = dataSourceOf(queryRunner).options as { schema?: string };
  return (schema === undefined ? [name] : [schema, name])
    .map((part) => dataSourceOf(queryRunner).driver.escape(part))
    .join('.');
}
