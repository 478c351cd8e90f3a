import type { DataSource } from 'typeorm';
import { MigrationError } from '../errors.js';
import { FIRST_TABLES } from './first.tables.js';

/** An existing column of a table, with the words of PostgreSQL's catalog. */
export interface FoundColumn {
  readonly table: string;
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly default: string | null;
}

/** Selects the columns of those of the first three tables that exist, as one JSON text. */
export function columnsQuery(dataSource: DataSource): string {
  const { schema } = dataSource.options as { schema?: string };
  const meant = schema === undefined ? 'current_schema()' : `'${schema.replaceAll("'", "''")}'`;
  const names = FIRST_TABLES.map(({ name }) => `'${name}'`).join(', ');
  return `
    SELECT coalesce(json_agg(row_to_json(f)), '[]')::text AS "columns" FROM (SELECT c.relname AS "table", a.attname AS "name", format_type(a.atttypid, a.atttypmod) AS "type",
      NOT a.attnotnull AS "nullable", pg_get_expr(d.adbin, d.adrelid) AS "default"
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = ${meant}
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relname IN (${names}) AND c.relkind IN ('r', 'p')
    ORDER BY c.relname, a.attnum) f`;
}

/**
 * Describes how the existing tables differ from the tables of the first three migrations. It leaves out
 * differences that do not matter to the services.
 *
 * @param recorded - the names of the migrations that the database has recorded
 */
export function olderDifferences(
  columns: readonly FoundColumn[],
  recorded: readonly string[],
): string[] {
  return FIRST_TABLES.flatMap(({ name: table, migration, columns: wanted }) => {
    const found = columns.filter((column) => column.table === table);
    if (found.length === 0) return [];
    const differences = wanted.flatMap(({ name, type, nullable, default: initial }) => {
      const column = found.find((each) => each.name === name);
      if (column === undefined) return [`${table}."${name}" is missing`];
      if (!isEnough(column.type, type)) {
        return [`${table}."${name}" is ${column.type}, not ${type}`];
      }
      if (column.nullable || column.default !== null) return [];
      if (nullable === true) return [`${table}."${name}" must be filled, and often has no value`];
      return initial === undefined
        ? []
        : [`${table}."${name}" has no default, and none gives it a value`];
    });
    // Required columns that this package would not fill.
    const unfilled = found
      .filter((each) => wanted.every(({ name }) => name !== each.name))
      .filter((each) => !each.nullable && each.default === null)
      .map(({ name }) => `${table}."${name}" must be filled, and is not known here`);
    const unrecorded = recorded.includes(migration) ? [] : [`${table} is there, and not recorded`];
    return [...unrecorded, ...differences, ...unfilled];
  });
}

/** How long a text of this type may be; NaN if the type holds no text. */
function lengthOf(type: string): number {
  if (type === 'text' || type === 'character varying') return Infinity;
  const [, length] = /^character varying\((\d+)\)$/.exec(type) ?? [];
  return Number(length ?? Number.NaN);
}

/** Whether a column can hold all values that it must hold. A wider column can. */
const isEnough = (found: string, wanted: string): boolean =>
  found === wanted || lengthOf(found) >= lengthOf(wanted);

/** @param differences - how the tables differ from this package's tables */
export const olderDatabaseError = (differences: readonly string[]): MigrationError =>
  new MigrationError(
    `The tables of the database differ from those that this package makes: ${differences.join('; ')}. ` +
      `Nothing was changed. If an older FrameForge release made them, back them up, and see what ` +
      `npx frameforge-db adopt would do. If they belong to another program, give this package its own ` +
      `schema with the option \`schema\` (a schema that is missing is created).`,
  );
