import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { tablesOf } from '../schema/tables.js';

const PATIENCE_MS = 10_000;
/**
 * How long one try waits for a lock, in ms, while it holds the locks that it has already. A transaction of the
 * application may hold the awaited lock and wait for one of the held locks. The server would report this deadlock only
 * after a second. The try gives up long before, and the transaction goes on. Many short tries succeed sooner than few
 * long ones: statements that waited behind a long try often begin first, and take the next lock.
 */
const TRY_MS = 20;
/** PostgreSQL's error codes when a transaction of the application is in the way: a lock timed out, or a deadlock. */
const IN_THE_WAY = new Set<unknown>(['55P03', '40P01']);

/**
 * Finds the tables to empty, without the tables of extensions. $1 the tables to keep, $2 the table with a row that is
 * always there. The oldest table comes first, so that parents come before their children.
 */
const TABLES = `
  SELECT format('%I.%I', n.nspname, c.relname) AS name,
    c.oid IS NOT DISTINCT FROM to_regclass($2) AS "isState"
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
    AND c.relname <> ALL($1)
    AND NOT EXISTS (
      SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ORDER BY c.oid`;

/**
 * Empties all tables except the tables of migrations and of TypeORM's metadata. Waits until no transaction uses the
 * tables. Also ends a pause of processing.
 *
 * @param patienceMs - how long it waits for open transactions, in ms; then it throws
 */
export async function truncateTables(
  dataSource: DataSource,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    try {
      return await tryToTruncate(dataSource);
    } catch (error) {
      if (!IN_THE_WAY.has((error as { code?: unknown }).code)) throw error;
      if (performance.now() > deadline) {
        throw new Error(
          `truncate() waited ${patienceMs} ms for a transaction that is still open on a table. ` +
            `Before truncate(), await or close what the test has started.`,
          { cause: error },
        );
      }
    }
    await sleep(Math.random() * TRY_MS);
  }
}

async function tryToTruncate(dataSource: DataSource): Promise<void> {
  const { migrationsTableName = 'migrations', metadataTableName = 'typeorm_metadata' } =
    dataSource.options;
  await dataSource.transaction(async (manager) => {
    const kept = ['migrations', migrationsTableName, metadataTableName];
    const { processingState } = tablesOf(dataSource);
    const values = [kept, processingState];
    const tables = await manager.query<{ name: string; isState: boolean }[]>(TABLES, values);
    if (tables.length === 0) return;
    await manager.query(`SET LOCAL lock_timeout = ${TRY_MS}`);
    const names = tables.map(({ name }) => name).join(', ');
    await manager.query(`TRUNCATE ${names} RESTART IDENTITY CASCADE`);
    const state = tables.find(({ isState }) => isState);
    if (state !== undefined) await manager.query(`INSERT INTO ${state.name} DEFAULT VALUES`);
  });
}
