import type { DataSource } from 'typeorm';
import { MigrationError } from '../errors.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import type { FirstTable } from './first.tables.js';
import { FIRST_TABLES } from './first.tables.js';

/** An existing column of a table, with the words of PostgreSQL's catalog. */
export interface FoundColumn {
  readonly table: string;
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly default: string | null;
  /** Whether a key or a unique index keeps two rows from having the same value. */
  readonly unique: boolean;
  /** The tables that it refers to by a foreign key with ON DELETE CASCADE. */
  readonly owners: readonly string[];
  /** The CHECKs of this column alone. */
  readonly checks: readonly string[];
}

/** Selects the columns of those of the first three tables that exist, as one JSON text. */
export function columnsQuery(dataSource: DataSource): string {
  const { schema } = dataSource.options as { schema?: string };
  const meant = schema === undefined ? 'current_schema()' : `'${schema.replaceAll("'", "''")}'`;
  const names = FIRST_TABLES.map(({ name }) => `'${name}'`).join(', ');
  return `
    SELECT coalesce(json_agg(row_to_json(f)), '[]')::text AS "columns" FROM (SELECT c.relname AS "table", a.attname AS "name", format_type(a.atttypid, a.atttypmod) AS "type",
      NOT a.attnotnull AS "nullable", pg_get_expr(d.adbin, d.adrelid) AS "default",
      EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS "unique",
      ARRAY(SELECT r.relname::text FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid AND r.relnamespace = c.relnamespace
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confdeltype = 'c' AND k.conkey = ARRAY[a.attnum]) AS "owners",
      ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]) AS "checks"
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = ${meant}
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relname IN (${names}) AND c.relkind IN ('r', 'p')
    ORDER BY c.relname, a.attnum) f`;
}

/**
 * Describes how the existing tables differ from the tables of the first three migrations. It leaves out
 * differences that do not matter to the services. It compares keys and checks only until a later migration
 * has run, because only until then `adopt` can create them. After that, `check` shows such differences.
 *
 * @param recorded - the names of the migrations that the database has recorded
 */
export function olderDifferences(
  columns: readonly FoundColumn[],
  recorded: readonly string[],
): string[] {
  const first = new Set(FIRST_TABLES.map(({ migration }) => migration));
  const isBefore = recorded.every((name) => first.has(name) || !isFrameForgeMigration(name));
  return FIRST_TABLES.flatMap((firstTable) => {
    const { name: table, migration, columns: wanted } = firstTable;
    const found = columns.filter((column) => column.table === table);
    if (found.length === 0) return [];
    const differences = wanted.flatMap(({ name, type, nullable, default: initial }) => {
      const column = found.find((each) => each.name === name);
      if (column === undefined) return [`${table}."${name}" is missing`];
      if (!isEnough(column.type, type)) {
        return [`${table}."${name}" is ${column.type}, not ${type}`];
      }
      if (column.nullable || column.default !== null) return [];
      if (nullable === true)
        return [`${table}."${name}" is NOT NULL, but this package often stores no value in it`];
      return initial === undefined
        ? []
        : [`${table}."${name}" has no default, but this package relies on one`];
    });
    // Required columns that this package would not fill.
    const unfilled = found
      .filter((each) => wanted.every(({ name }) => name !== each.name))
      .filter((each) => !each.nullable && each.default === null)
      .map(
        ({ name }) =>
          `${table}."${name}" is NOT NULL without a default, and this package does not write it`,
      );
    const unrecorded = recorded.includes(migration)
      ? []
      : [`the table ${table} exists, but its migration is not recorded`];
    const constraints = isBefore ? constraintDifferences(firstTable, found) : [];
    return [...unrecorded, ...differences, ...unfilled, ...constraints];
  });
}

/**
 * Compares keys and checks by what they do, not by their names. A unique index is as good as a
 * constraint, and a CHECK may allow more words.
 */
function constraintDifferences(
  { name: table, columns, primaryKey, unique, foreignKey, checks }: FirstTable,
  found: readonly FoundColumn[],
): string[] {
  // A column that is missing or has another type is in the list already.
  const findColumn = (name: string): FoundColumn | undefined =>
    found.find(
      (each) =>
        each.name === name &&
        columns.some((column) => column.name === name && isEnough(each.type, column.type)),
    );
  const differences: string[] = [];
  for (const [, name] of [primaryKey, ...unique]) {
    if (findColumn(name)?.unique === false) differences.push(`${table}."${name}" is not unique`);
  }
  if (foreignKey !== undefined) {
    const [, name, owner] = foreignKey;
    if (findColumn(name)?.owners.includes(owner) === false) {
      differences.push(`${table}."${name}" has no foreign key to ${owner} with ON DELETE CASCADE`);
    }
  }
  for (const [, expression] of checks) {
    const [, name = '', words = ''] = /^"(\w+)" IN \((.*)\)$/.exec(expression) ?? [];
    // PostgreSQL's wording changes from release to release, but not the words in it.
    const isTaken = (check: string): boolean =>
      words.split(', ').every((word) => check.includes(word));
    if (findColumn(name)?.checks.some(isTaken) === false) {
      differences.push(`${table}."${name}" has no CHECK that allows ${words}`);
    }
  }
  return differences;
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
    `The tables of the database differ from the tables that this package creates: ` +
      `${differences.join('; ')}. Nothing was changed. If an older FrameForge release created them, ` +
      `run npx frameforge-db adopt: it lists what it would change, and changes nothing without --yes. ` +
      `If they belong to another program, give this package its own schema with the option \`schema\` ` +
      `(a schema that does not exist is created).`,
  );
