import type { EntityMetadata, QueryRunner } from 'typeorm';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import type { Difference } from './schema.difference.js';

/** A predicate of a partial index, or the condition of a CHECK. */
interface Expression {
  readonly name: string;
  readonly kind: 'index' | 'constraint';
  /** The text in the entity: `WHERE ...` or `CHECK (...)`. */
  readonly text: string;
  /** Returns the statement that gives a table an index or constraint with this text. */
  create(table: string, text: string): string;
}

/** How many times at most an expression is written to PostgreSQL and read back, until its wording stays. */
const ROUNDS = 5;

/**
 * Compares the predicates of partial indexes, and the check constraints. TypeORM compares only their names.
 * PostgreSQL stores an expression in its own words. The words may change again when they are written once
 * more, for example by `pg_dump` or in another version. So this writes the entity's and the database's
 * expression to an empty copy of the table, and reads them back, until the words stay.
 */
export async function expressionDrift(
  queryRunner: QueryRunner,
  entity: EntityMetadata,
): Promise<Difference[]> {
  const { driver } = dataSourceOf(queryRunner);
  const table = entity.tablePath
    .split('.')
    .map((part) => driver.escape(part))
    .join('.');
  const expressions = expressionsOf(entity, (name) => driver.escape(name));
  if (expressions.length === 0) return [];
  const actual = await textsOf(queryRunner, table);
  const copy = driver.escape(`drift of ${entity.tableName}`.slice(0, 63));
  const settle = async (expression: Expression, first: string): Promise<string> => {
    let text = first;
    for (let round = 0; round < ROUNDS; round += 1) {
      await queryRunner.query(`SAVEPOINT drift`);
      await queryRunner.query(`CREATE TEMP TABLE ${copy} (LIKE ${table}) ON COMMIT DROP`);
      // If the columns of the table differ, it may refuse the expression. The text then stays as it is.
      const read = await queryRunner.query(expression.create(copy, text)).then(
        async () => (await textsOf(queryRunner, `pg_temp.${copy}`)).get(expression.name) ?? '',
        () => text,
      );
      await queryRunner.query(`ROLLBACK TO SAVEPOINT drift`);
      if (read === text) break;
      text = read;
    }
    return text;
  };
  const drift: Difference[] = [];
  for (const expression of expressions) {
    const text = actual.get(expression.name);
    // TypeORM itself reports an expression that is missing, or that should not exist.
    if (text === undefined) continue;
    const should = await settle(expression, expression.text);
    const is = await settle(expression, text);
    const { kind, name } = expression;
    if (is !== should) {
      drift.push({
        what: `${kind} ${driver.escape(name)} of ${table}`,
        should,
        is: is === '' ? 'not partial' : is,
      });
    }
  }
  return drift;
}

function expressionsOf(entity: EntityMetadata, escape: (name: string) => string): Expression[] {
  const indexes = entity.indices.flatMap(({ name, where, columns, isUnique }): Expression[] => {
    if (where === undefined) return [];
    const list = columns.map((column) => escape(column.databaseName)).join(', ');
    const create = (table: string, text: string): string =>
      `CREATE ${isUnique ? 'UNIQUE ' : ''}INDEX ${escape(name)} ON ${table} (${list}) ${text}`;
    return [{ name, kind: 'index', text: `WHERE ${where}`, create }];
  });
  const checks = entity.checks.map(({ name, expression }): Expression => {
    const create = (table: string, text: string): string =>
      `ALTER TABLE ${table} ADD CONSTRAINT ${escape(name)} ${text}`;
    return { name, kind: 'constraint', text: `CHECK (${expression})`, create };
  });
  return [...indexes, ...checks];
}

/** Reads the predicates of a table's indexes, and its check constraints, by name. */
async function textsOf(queryRunner: QueryRunner, table: string): Promise<Map<string, string>> {
  const rows = (await queryRunner.query(
    `SELECT c.relname AS "name",
       coalesce('WHERE ' || pg_get_expr(i.indpred, i.indrelid), '') AS "text"
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = to_regclass($1)
     UNION ALL
     SELECT conname, regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '')
     FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'c'`,
    [table],
  )) as { name: string; text: string }[];
  return new Map(rows.map(({ name, text }) => [name, text]));
}
