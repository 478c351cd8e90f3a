import type { QueryRunner } from 'typeorm';
import { besideOf, columnFor, counted, extraColumns } from './adoption.steps.js';
import { literal, qualified, quoted } from './adoption.steps.js';
import type { FirstColumn, FirstTable } from './first.tables.js';
import { FIRST_TABLES } from './first.tables.js';
import type { FoundColumn } from './older.database.js';

/** A condition that no row of the table may meet. */
interface Fault {
  /** A description of the problem, such as `"email" has no value`. */
  readonly words: string;
  readonly condition: string;
}

/** A pattern for a UUID in the forms that PostgreSQL reads. */
const UUID = String.raw`'^\{?([0-9a-f]{4}-?){7}[0-9a-f]{4}\}?$'`;
const SHOWN_VALUES = 10;

/**
 * Finds all reasons why a table cannot be adopted without the loss of something. It finds them all, so that
 * the operator can solve them at once. Reads the table a few times, and changes nothing.
 *
 * @param all - the columns of all three tables
 * @param timeZone - the time zone of times that are stored without one
 * @returns a description of each; empty if the table can be adopted
 */
export async function obstacles(
  runner: QueryRunner,
  table: FirstTable,
  all: readonly FoundColumn[],
  timeZone: string,
): Promise<string[]> {
  const found = all.filter((column) => column.table === table.name);
  if (found.length === 0) return [];
  const categories = await categoriesOf(runner, table);
  const missing: string[] = [];
  const faults: Fault[] = [];
  for (const wanted of table.columns) {
    const column = columnFor(wanted, found);
    if (column === undefined) {
      if (wanted.nullable === true || wanted.default !== undefined) continue;
      missing.push(`${table.name} has no column for ${quoted(wanted.name)}`);
      continue;
    }
    const values = valueFaults(wanted, column, categories.get(column.name) ?? '', timeZone);
    if (values === undefined) {
      missing.push(
        `${table.name}.${quoted(column.name)} is ${column.type}, and adopt cannot convert it to ${wanted.type}`,
      );
    } else faults.push(...values);
  }
  return [
    ...missing,
    ...(await countFaults(runner, table, faults)),
    ...(await unknownWords(runner, table, found)),
    ...(await repeated(runner, table, found)),
    ...(await orphans(runner, table, all)),
    ...(await dependents(runner, table, found)),
  ];
}

/** Finds the values that cannot be converted. @returns undefined if no value of the one type can become the other */
function valueFaults(
  { type, nullable }: FirstColumn,
  column: FoundColumn,
  category: string,
  timeZone: string,
): Fault[] | undefined {
  const it = quoted(column.name);
  const faults: Fault[] = [];
  if (nullable !== true && column.nullable) {
    faults.push({ words: `${it} has no value`, condition: `${it} IS NULL` });
  }
  if (column.type === type) return faults;
  if (type.startsWith('timestamp')) {
    if (!column.type.startsWith('timestamp')) return undefined;
    if (!column.type.endsWith('without time zone')) return faults;
    const zone = literal(timeZone);
    const words = `${it} is a time that does not exist in ${timeZone}, because the clocks were put forward (it was written in another time zone)`;
    return [
      ...faults,
      { words, condition: `(${it} AT TIME ZONE ${zone}) AT TIME ZONE ${zone} <> ${it}` },
    ];
  }
  if (type === 'integer') {
    if (category !== 'N' || column.type === 'money') return undefined;
    const words = `${it} is not an integer, or is too large for one`;
    const inRange = `${it}::numeric BETWEEN -2147483648 AND 2147483647`;
    return [
      ...faults,
      { words, condition: `NOT (${inRange}) OR ${it}::numeric <> trunc(${it}::numeric)` },
    ];
  }
  const isText = category === 'S' || category === 'E';
  if (type === 'uuid') {
    if (!isText) return undefined;
    const words = `${it} is not a UUID`;
    return [...faults, { words, condition: `${it}::text !~* ${UUID}` }];
  }
  if (!isText && column.type !== 'uuid') return undefined;
  const [, length] = /\((\d+)\)$/.exec(type) ?? [];
  if (length === undefined) return faults;
  const words = `${it} is longer than ${length} characters`;
  return [...faults, { words, condition: `char_length(${it}::text) > ${length}` }];
}

async function countFaults(
  runner: QueryRunner,
  table: FirstTable,
  faults: readonly Fault[],
): Promise<string[]> {
  if (faults.length === 0) return [];
  const counts = faults.map(({ condition }) => `count(*) FILTER (WHERE ${condition})::int`);
  const [row] = (await runner.query(
    `SELECT ARRAY[${counts.join(', ')}]::text AS "counts" FROM ${qualified(runner, table.name)}`,
  )) as { counts: string }[];
  const numbers = row?.counts.slice(1, -1).split(',').map(Number) ?? [];
  return faults.flatMap(({ words }, index) =>
    numbers[index] === 0
      ? []
      : [`${table.name}.${words}, in ${counted(numbers[index] ?? 0, 'row')}`],
  );
}

/** Finds words that the CHECKs refuse. It skips types of notifications that a later step converts. */
async function unknownWords(
  runner: QueryRunner,
  table: FirstTable,
  found: readonly FoundColumn[],
): Promise<string[]> {
  const problems: string[] = [];
  for (const [, expression] of table.checks) {
    const [, name, words] = /^"(\w+)" IN (\(.*\))$/.exec(expression) ?? [];
    const wanted = table.columns.find((column) => column.name === name);
    const column = wanted === undefined ? undefined : columnFor(wanted, found);
    if (column === undefined || column.name === 'type') continue;
    const it = quoted(column.name);
    const rows = (await runner.query(
      `SELECT ${it}::text AS "value", count(*)::int AS "rows" FROM ${qualified(runner, table.name)}
       WHERE ${it}::text NOT IN ${words} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ${SHOWN_VALUES}`,
    )) as { value: string; rows: number }[];
    for (const { value, rows: count } of rows) {
      problems.push(
        `${table.name}.${it} is '${value}', and must be one of ${words}, in ${counted(count, 'row')}`,
      );
    }
  }
  return problems;
}

async function repeated(
  runner: QueryRunner,
  table: FirstTable,
  found: readonly FoundColumn[],
): Promise<string[]> {
  const problems: string[] = [];
  for (const [, name] of [table.primaryKey, ...table.unique]) {
    const wanted = table.columns.find((column) => column.name === name);
    const column = wanted === undefined ? undefined : columnFor(wanted, found);
    if (column === undefined) continue;
    const it = quoted(column.name);
    const [row] = (await runner.query(
      `SELECT count(*)::int AS "values" FROM (
         SELECT FROM ${qualified(runner, table.name)} WHERE ${it} IS NOT NULL
         GROUP BY ${it}::text HAVING count(*) > 1) r`,
    )) as { values: number }[];
    const { values = 0 } = row ?? {};
    if (values > 0)
      problems.push(
        `${table.name}.${it} must be unique, but several rows have the same value, for ${counted(values, 'value')}`,
      );
  }
  return problems;
}

/** Finds rows whose user or job does not exist. */
async function orphans(
  runner: QueryRunner,
  table: FirstTable,
  all: readonly FoundColumn[],
): Promise<string[]> {
  if (table.foreignKey === undefined) return [];
  const [, name, references] = table.foreignKey;
  const target = FIRST_TABLES.find((each) => each.name === references);
  const place = ({ name: of, columns }: FirstTable): string | undefined => {
    const wanted = columns.find((column) => column.name === name);
    const there = all.filter((column) => column.table === of);
    const column = wanted === undefined ? undefined : columnFor(wanted, there);
    return column === undefined ? undefined : quoted(column.name);
  };
  const from = place(table);
  if (target === undefined || from === undefined) return [];
  const to = place(target);
  const isThere =
    to === undefined
      ? 'false'
      : `EXISTS (SELECT FROM ${qualified(runner, references)} r WHERE r.${to}::text = t.${from}::text)`;
  const [row] = (await runner.query(
    `SELECT count(*)::int AS "rows" FROM ${qualified(runner, table.name)} t WHERE ${from} IS NOT NULL AND NOT ${isThere}`,
  )) as { rows: number }[];
  const { rows = 0 } = row ?? {};
  return rows === 0
    ? []
    : [`${table.name}.${from} does not exist in ${references}, in ${counted(rows, 'row')}`];
}

/** Finds views, policies and foreign keys on columns that change or go, and a table in the way of the table beside. */
async function dependents(
  runner: QueryRunner,
  table: FirstTable,
  found: readonly FoundColumn[],
): Promise<string[]> {
  const extra = extraColumns(table, found);
  const changed = table.columns.flatMap((wanted) => {
    const column = columnFor(wanted, found);
    return column === undefined || column.type === wanted.type ? [] : [column.name];
  });
  const relation = qualified(runner, table.name);
  const rows = (await runner.query(
    `SELECT DISTINCT coalesce('the view ' || r.ev_class::regclass::text, 'the policy ' || quote_ident(p.polname),
         'the foreign key ' || quote_ident(f.conname) || ' of ' || f.conrelid::regclass::text) AS "what",
       quote_ident(a.attname) AS "column"
     FROM pg_depend d
     JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
     LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
     LEFT JOIN pg_constraint f ON d.classid = 'pg_constraint'::regclass AND f.oid = d.objid
       AND f.contype = 'f' AND f.confrelid = d.refobjid AND f.conrelid <> ALL($3::oid[])
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass($1) AND a.attname = ANY($2)
       AND coalesce(r.oid, p.oid, f.oid) IS NOT NULL
     ORDER BY 1, 2`,
    [relation, [...changed, ...extra], await oidsOf(runner)],
  )) as { what: string; column: string }[];
  const problems = rows.map(
    ({ what, column }) =>
      `${what} uses ${table.name}.${column}, ${extra.includes(column) ? 'which is removed' : 'whose type changes'}: drop it, and create it again after the adoption`,
  );
  const beside = besideOf(table);
  const [row] = (await runner.query(`SELECT to_regclass($1) IS NOT NULL AS "there"`, [
    qualified(runner, beside),
  ])) as { there: boolean }[];
  const isNeeded = extra.length > 0 || found.some(({ name }) => name === 'type');
  if (isNeeded && row?.there === true) {
    problems.push(
      `the table ${beside} exists already, and adopt needs this name for the values that the new table does not keep: rename it`,
    );
  }
  return problems;
}

const oidsOf = async (runner: QueryRunner): Promise<string[]> => {
  const rows = (await runner.query(
    `SELECT to_regclass(n)::oid::text AS "oid" FROM unnest($1::text[]) n`,
    [FIRST_TABLES.map(({ name }) => qualified(runner, name))],
  )) as { oid: string | null }[];
  return rows.flatMap(({ oid }) => (oid === null ? [] : [oid]));
};

/** Reads the category of each column's type: S for texts, E for enums, N for numbers. */
async function categoriesOf(runner: QueryRunner, table: FirstTable): Promise<Map<string, string>> {
  const rows = (await runner.query(
    `SELECT attname AS "name", typcategory::text AS "category" FROM pg_attribute
     JOIN pg_type t ON t.oid = atttypid WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
    [qualified(runner, table.name)],
  )) as { name: string; category: string }[];
  return new Map(rows.map(({ name, category }) => [name, category]));
}
