import type { QueryRunner } from 'typeorm';
import { dataSourceOf } from '../../peers/typeorm.internals.js';

/**
 * The name of a table, index or constraint's owner as SQL: quoted, and in the schema that the data
 * source is configured with, where it has one.
 */
export function tableName(queryRunner: QueryRunner, name: string): string {
  const { schema } = dataSourceOf(queryRunner).options as { schema?: string };
  return (schema === undefined ? [name] : [schema, name])
    .map((part) => dataSourceOf(queryRunner).driver.escape(part))
    .join('.');
}
