import type { DataSource } from 'typeorm';

const PATIENCE_MS = 10_000;

/** $1 the tables to keep. Those of extensions are theirs. */
const TABLES = `
  SELECT format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
    AND c.relname <> ALL($1)
    AND NOT EXISTS (
      SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`;

/**
 * Empties all tables but those in which TypeORM keeps its records.
 *
 * @param patienceMs - how long it waits for transactions that are still open; then it throws
 */
export async function truncateTables(
  dataSource: DataSource,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const { migrationsTableName = 'migrations', metadataTableName = 'typeorm_metadata' } =
    dataSource.options;
  try {
    await dataSource.transaction(async (manager) => {
      const kept = [['migrations', migrationsTableName, metadataTableName]];
      const tables = await manager.query<{ name: string }[]>(TABLES, kept);
      if (tables.length === 0) return;
      await manager.query(`SET LOCAL lock_timeout = ${patienceMs}`);
      const names = tables.map(({ name }) => name).join(', ');
      await manager.query(`TRUNCATE ${names} RESTART IDENTITY CASCADE`);
    });
  } catch (error) {
    if ((error as { code?: unknown }).code !== '55P03') throw error;
    throw new Error(
      `truncate() waited ${patienceMs} ms for a transaction that is still open on a table. ` +
        `Await or close what the test has started before it.`,
      { cause: error },
    );
  }
}
