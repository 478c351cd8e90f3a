import type { DataSource, EntityMetadata, QueryRunner } from 'typeorm';

/**
 * What differs between the database and the entities, as the statements that would make it what the
 * entities say. Changes nothing: what it has to try out is rolled back.
 */
export async function schemaDrift(dataSource: DataSource): Promise<string[]> {
  const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
  const statements = upQueries.map(({ query }) => query);
  const queryRunner = dataSource.createQueryRunner('master');
  try {
    await queryRunner.startTransaction();
    for (const entity of dataSource.entityMetadatas) {
      if (entity.synchronize) statements.push(...(await expressionDrift(queryRunner, entity)));
    }
  } finally {
    if (queryRunner.isTransactionActive) await queryRunner.rollbackTransaction().catch(() => {});
    await queryRunner.release();
  }
  // Entities that share a table share its indexes.
  return [...new Set(statements)];
}

/** An expression of the entity's, and how to give it to a table and read it back. */
interface Expression {
  readonly name: string;
  readonly create: (table: string) => string;
  readonly repair: (table: string) => string;
}

/**
 * Compares predicates of partial indexes and check constraints, of which TypeORM compares the names
 * alone. PostgreSQL keeps its own spelling of an expression: the entity's is given to an empty copy
 * of the table and read back.
 */
async function expressionDrift(
  queryRunner: QueryRunner,
  entity: EntityMetadata,
): Promise<string[]> {
  const { driver } = queryRunner.dataSource;
  const table = entity.tablePath
    .split('.')
    .map((part) => driver.escape(part))
    .join('.');
  const expressions = expressionsOf(entity, (name) => driver.escape(name));
  if (expressions.length === 0) return [];
  const actual = await definitionsOf(queryRunner, table);
  const copy = driver.escape(`drift of ${entity.tableName}`.slice(0, 63));
  const drift: string[] = [];
  for (const { name, create, repair } of expressions) {
    const definition = actual.get(name);
    // One that is missing, or more than there should be, is what TypeORM sees.
    if (definition === undefined) continue;
    await queryRunner.query(`SAVEPOINT drift`);
    await queryRunner.query(`CREATE TEMP TABLE ${copy} (LIKE ${table}) ON COMMIT DROP`);
    await queryRunner.query(create(copy));
    const expected = (await definitionsOf(queryRunner, `pg_temp.${copy}`)).get(name);
    await queryRunner.query(`ROLLBACK TO SAVEPOINT drift`);
    if (definition !== expected) drift.push(`${repair(table)} -- it is ${definition}`);
  }
  return drift;
}

function expressionsOf(entity: EntityMetadata, escape: (name: string) => string): Expression[] {
  const indexes = entity.indices.flatMap(({ name, where, columns, isUnique }): Expression[] => {
    if (where === undefined) return [];
    const list = columns.map((column) => escape(column.databaseName)).join(', ');
    const create = (table: string): string =>
      `CREATE ${isUnique ? 'UNIQUE ' : ''}INDEX ${escape(name)} ON ${table} (${list}) WHERE ${where}`;
    const schema = entity.schema === undefined ? '' : `${escape(entity.schema)}.`;
    const repair = (table: string): string =>
      `DROP INDEX ${schema}${escape(name)}; ${create(table)};`;
    return [{ name, create, repair }];
  });
  const checks = entity.checks.map(({ name, expression }): Expression => {
    const create = (table: string): string =>
      `ALTER TABLE ${table} ADD CONSTRAINT ${escape(name)} CHECK (${expression})`;
    const repair = (table: string): string =>
      `ALTER TABLE ${table} DROP CONSTRAINT ${escape(name)}; ${create(table)};`;
    return { name, create, repair };
  });
  return [...indexes, ...checks];
}

/** The predicates of a table's indexes, and its check constraints, by name. */
async function definitionsOf(
  queryRunner: QueryRunner,
  table: string,
): Promise<Map<string, string>> {
  const rows = (await queryRunner.query(
    `SELECT c.relname AS name,
       coalesce('WHERE ' || pg_get_expr(i.indpred, i.indrelid), 'not partial') AS definition
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = to_regclass($1)
     UNION ALL
     SELECT conname, pg_get_constraintdef(oid)
     FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'c'`,
    [table],
  )) as { name: string; definition: string }[];
  return new Map(rows.map(({ name, definition }) => [name, definition]));
}
