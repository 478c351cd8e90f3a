import type { QueryRunner } from 'typeorm';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import type { FirstColumn, FirstTable } from './first.tables.js';
import { snake } from './first.tables.js';
import type { FoundColumn } from './older.database.js';

/** A statement and its description. Without a statement, the description is information for the operator. */
export interface Step {
  readonly words: string;
  readonly sql?: string;
  readonly parameters?: readonly unknown[];
}

/** Writes a number of things in words, such as `1 row` or `2 rows`. */
export const counted = (count: number, thing: string): string =>
  `${count} ${thing}${count === 1 ? '' : 's'}`;

/** Writes a name as SQL. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Finds the existing column for a wanted column. It may have another name. */
export function columnFor(
  { name, was }: FirstColumn,
  found: readonly FoundColumn[],
): FoundColumn | undefined {
  const names = [name, snake(name), was];
  return names.flatMap((each) => found.filter((column) => column.name === each))[0];
}

/** The table that keeps the values of columns that have no place in the new table. */
export const besideOf = ({ name }: FirstTable): string => `${name}_before_adoption`;

/** The name of a table as SQL, in the schema that the data source is configured with. */
export function qualified(runner: QueryRunner, table: string): string {
  const { schema } = dataSourceOf(runner).options as { schema?: string };
  return (schema === undefined ? [table] : [schema, table])
    .map((part) => dataSourceOf(runner).driver.escape(part))
    .join('.');
}

/** The steps for the columns: names, types and defaults. Columns without a place go to the table beside. */
export function columnSteps(
  table: FirstTable,
  found: readonly FoundColumn[],
  timeZone: string,
): Step[] {
  const at = `ALTER TABLE ${table.name}`;
  const steps: Step[] = [];
  const used = new Set<string>();
  const renames: Step[] = [];
  const types: TypeChange[] = [];
  const rest: Step[] = [];
  if (found.length === 0) {
    steps.push({
      words: 'create the table, which is missing',
      sql: `CREATE TABLE ${table.name} ()`,
    });
  }
  for (const wanted of table.columns) {
    const column = columnFor(wanted, found);
    const name = quoted(wanted.name);
    const initial = wanted.default === undefined ? '' : ` DEFAULT ${wanted.default}`;
    if (column === undefined) {
      const sql = `${at} ADD COLUMN ${name} ${wanted.type}${initial}${wanted.nullable === true ? '' : ' NOT NULL'}`;
      rest.push({ words: `add the column ${name}`, sql });
      continue;
    }
    used.add(column.name);
    if (column.name !== wanted.name) {
      const words = `rename the column ${column.name} to ${name}`;
      renames.push({ words, sql: `${at} RENAME COLUMN ${quoted(column.name)} TO ${name}` });
    }
    if (column.name === 'type') {
      // Whatever its type was, it must be able to hold the new words.
      types.push(typeChange(name, column.type, 'text', timeZone));
      rest.push(KINDS, alteration(at, [typeChange(name, 'text', wanted.type, timeZone)]));
    } else if (column.type !== wanted.type) {
      types.push(typeChange(name, column.type, wanted.type, timeZone));
    }
    if (wanted.nullable !== true && column.nullable) {
      const words = `require a value in ${name}`;
      rest.push({ words, sql: `${at} ALTER COLUMN ${name} SET NOT NULL` });
    }
    if (wanted.nullable === true && !column.nullable) {
      const words = `allow ${name} to have no value`;
      rest.push({ words, sql: `${at} ALTER COLUMN ${name} DROP NOT NULL` });
    }
    // A change of the type drops the default.
    const keeps = column.type === wanted.type ? (column.default ?? '') : '';
    if (keeps.replace(/::.*$/, '') !== (wanted.default ?? '')) {
      const words =
        wanted.default === undefined
          ? `remove the default of ${name}`
          : `set the default of ${name} to ${wanted.default}`;
      const action = wanted.default === undefined ? 'DROP DEFAULT' : `SET${initial}`;
      rest.push({ words, sql: `${at} ALTER COLUMN ${name} ${action}` });
    }
  }
  const extra = extraColumns(table, found).map(quoted);
  const copied = used.has('type') ? [...extra, '"type"'] : extra;
  if (copied.length > 0) {
    const beside = besideOf(table);
    const key = table.primaryKey[1];
    const was = found.find(({ name }) => [key, snake(key)].includes(name))?.name ?? key;
    steps.push({
      words: `copy ${copied.join(', ')} to the table ${beside}, because the new table does not keep these values`,
      sql: `CREATE TABLE ${beside} AS SELECT ${quoted(was)} AS ${quoted(key)}, ${copied.join(', ')} FROM ${table.name}`,
    });
    for (const name of extra) {
      steps.push({ words: `remove the column ${name}`, sql: `${at} DROP COLUMN ${name}` });
    }
  }
  // One statement changes all types, because each statement would rewrite the table and its indexes.
  if (types.length > 0) renames.push(alteration(at, types));
  return [...steps, ...renames, ...rest];
}

/** The columns that have no place in the new table. */
export const extraColumns = ({ columns }: FirstTable, found: readonly FoundColumn[]): string[] => {
  const used = new Set(columns.map((wanted) => columnFor(wanted, found)?.name));
  return found.map(({ name }) => name).filter((name) => !used.has(name));
};

/** Replaces an unknown type of notification by the type that the job's status tells. */
const KINDS: Step = {
  words: `where "notificationType" is neither 'success' nor 'failure', set it to 'success' if the job is completed, and otherwise to 'failure'`,
  sql: `
    UPDATE notification_log n SET "notificationType" =
      CASE (SELECT "status"::text FROM video_jobs j WHERE j."jobId" = n."jobId")
        WHEN 'completed' THEN 'success' ELSE 'failure' END
    WHERE "notificationType" NOT IN ('success', 'failure')`,
};

/** A column that gets another type: a description that follows "convert", and a part of ALTER TABLE. */
interface TypeChange {
  readonly words: string;
  readonly sql: string;
}

function typeChange(column: string, was: string, type: string, zone: string): TypeChange {
  const isTime = type.startsWith('timestamp');
  const isLocal = was.endsWith('without time zone');
  const using = isTime
    ? `date_trunc('milliseconds', ${column})${isLocal ? ` AT TIME ZONE ${literal(zone)}` : ''}`
    : // A text is not cast to its length, because that would cut it.
      column + (type === 'integer' ? '::integer' : type === 'uuid' ? '::text::uuid' : '::text');
  return {
    words: `${column} from ${was} to ${type}${isTime && isLocal ? ` (its times are read as ${zone})` : ''}`,
    sql: `ALTER COLUMN ${column} DROP DEFAULT, ALTER COLUMN ${column} TYPE ${type} USING ${using}`,
  };
}

const alteration = (at: string, changes: readonly TypeChange[]): Step => ({
  words: `convert ${changes.map(({ words }) => words).join('; ')}`,
  sql: `${at} ${changes.map(({ sql }) => sql).join(', ')}`,
});

/** Writes a text as SQL. */
export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** The steps before and after the columns are changed. */
interface Sides {
  /** The steps for foreign keys, under which no column can change its type. */
  readonly keys: Step[];
  readonly removals: Step[];
  readonly additions: Step[];
}

/** A constraint that a table has. */
interface Constraint {
  readonly name: string;
  readonly kind: string;
  readonly onDelete: string;
  /** Whether a foreign key is of the table that it should be of. */
  readonly isOwner: boolean;
  readonly definition: string;
  readonly columns: string;
}

/** The words that a CHECK names. */
const wordsOf = (text: string): string => (text.match(/'\w+'/g) ?? []).toSorted().join();

/** The steps for constraints, indexes and triggers, whatever their names are. */
export async function constraintSteps(
  runner: QueryRunner,
  table: FirstTable,
  found: readonly FoundColumn[],
): Promise<Sides> {
  const { name } = table;
  const isNew = (column: string): string =>
    table.columns.find(
      (each) =>
        each.name === column ||
        (found.every((other) => other.name !== each.name) &&
          [snake(each.name), each.was].includes(column)),
    )?.name ?? column;
  const rows = (await runner.query(
    `SELECT conname AS "name", contype AS "kind", confdeltype AS "onDelete", coalesce(confrelid = to_regclass($2), false) AS "isOwner",
       pg_get_constraintdef(oid) AS "definition",
       ARRAY(SELECT attname::text FROM unnest(conkey) k JOIN pg_attribute ON attrelid = conrelid AND attnum = k)::text AS "columns"
     FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype <> 'n' ORDER BY conname`,
    [qualified(runner, name), qualified(runner, table.foreignKey?.[2] ?? name)],
  )) as Constraint[];
  const { keys, removals, additions } = await indexSteps(runner, table, isNew);
  const typeOf = (column: string): string | undefined =>
    table.columns
      .filter((each) => each.name === column)
      .map((each) => columnFor(each, found)?.type)[0];
  const wanted = new Map<string, { name: string; sql: string }>();
  const [pk, pkColumn] = table.primaryKey;
  wanted.set(`p{${pkColumn}}`, { name: pk, sql: `PRIMARY KEY ("${pkColumn}")` });
  for (const [each, column] of table.unique) {
    wanted.set(`u{${column}}`, { name: each, sql: `UNIQUE ("${column}")` });
  }
  if (table.foreignKey !== undefined) {
    const [each, column, references] = table.foreignKey;
    const target = `${references} ("${column}")`;
    const sql = `FOREIGN KEY ("${column}") REFERENCES ${target} ON DELETE CASCADE`;
    wanted.set(`f{${column}}`, { name: each, sql });
  }
  const kept = new Set<string>();
  const checks = new Map(table.checks);
  for (const row of rows) {
    const columns = row.columns.slice(1, -1).replaceAll('"', '');
    const key = `${row.kind}{${isNew(columns)}}`;
    const isOther =
      row.kind === 'f' &&
      (row.onDelete !== 'c' || !row.isOwner || typeOf(isNew(columns)) !== 'uuid');
    const target = isOther ? undefined : wanted.get(key);
    if (target !== undefined && !kept.has(key)) {
      kept.add(key);
      if (row.name === target.name) continue;
      const sql = `ALTER TABLE ${name} RENAME CONSTRAINT ${quoted(row.name)} TO "${target.name}"`;
      additions.unshift({ words: `rename the constraint ${row.name} to ${target.name}`, sql });
      continue;
    }
    // A CHECK with the right name is kept if it allows exactly the wanted words.
    if (row.kind === 'c' && wordsOf(checks.get(row.name) ?? '-') === wordsOf(row.definition)) {
      checks.delete(row.name);
      continue;
    }
    const words = `remove the constraint ${row.name}${row.kind === 'f' ? ` of ${name}` : ''}: ${row.definition}`;
    const sql = `ALTER TABLE ${name} DROP CONSTRAINT ${quoted(row.name)}`;
    (row.kind === 'f' ? keys : removals).push({ words, sql });
  }
  for (const [key, { name: each, sql }] of wanted) {
    if (kept.has(key)) continue;
    const words = `add the constraint ${each}: ${sql}`;
    additions.push({ words, sql: `ALTER TABLE ${name} ADD CONSTRAINT "${each}" ${sql}` });
  }
  for (const [each, expression] of checks) {
    const sql = `CHECK (${expression})`;
    const words = `add the constraint ${each}: ${sql}`;
    additions.push({ words, sql: `ALTER TABLE ${name} ADD CONSTRAINT "${each}" ${sql}` });
  }
  return { keys, removals, additions };
}

async function indexSteps(
  runner: QueryRunner,
  { name, indexes }: FirstTable,
  isNew: (column: string) => string,
): Promise<Sides> {
  const relation = qualified(runner, name);
  const rows = (await runner.query(
    `SELECT c.relname AS "name", pg_get_indexdef(c.oid) AS "definition"
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = to_regclass($1)
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND conrelid = i.indrelid)`,
    [relation],
  )) as { name: string; definition: string }[];
  const removals: Step[] = [];
  const additions: Step[] = [];
  const missing = new Map(indexes);
  for (const { name: index, definition } of rows) {
    const [, list = ''] = / USING btree \((.*)\)$/.exec(definition) ?? [];
    const columns = list.split(', ').map((column) => `"${isNew(column.replaceAll('"', ''))}"`);
    if (missing.get(index) === columns.join(', ')) {
      missing.delete(index);
      continue;
    }
    const words = `remove the index ${index}: ${definition}`;
    removals.push({ words, sql: `DROP INDEX ${quoted(index)}` });
  }
  for (const [index, columns] of missing) {
    const sql = `CREATE INDEX "${index}" ON ${name} (${columns})`;
    additions.push({ words: `add the index ${index} (${columns})`, sql });
  }
  const triggers = (await runner.query(
    `SELECT tgname AS "name" FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal`,
    [relation],
  )) as { name: string }[];
  for (const { name: trigger } of triggers) {
    const words = `remove the trigger ${trigger}, which was written for the old table`;
    removals.push({ words, sql: `DROP TRIGGER ${quoted(trigger)} ON ${name}` });
  }
  return { keys: [], removals, additions };
}
