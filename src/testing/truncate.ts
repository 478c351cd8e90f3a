import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { tablesOf } from '../schema/tables.js';

const PATIENCE_MS = 10_000;
/**
 * How long one try waits for a lock, while it holds those that it has. A transaction of the application
 * may hold that lock and wait for these: long before the server would call it a deadlock (1 s), the try
 * gives up, and lets the transaction go on. Short tries come to the end sooner than long ones: what
 * stands in line behind them has often begun, and holds the next lock.
 */
const TRY_MS = 20;
/** What the application's transactions are in the way by: a lock that is held, or a deadlock. */
const IN_THE_WAY = new Set<unknown>(['55P03', '40P01']);

/**
 * $1 the tables to keep, $2 the one with a row that is always there. Those of extensions are theirs. In
 * the order in which they were made: parents first.
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
 * Empties all tables but those in which TypeORM keeps its records, when nothing else works on them. What
 * was paused goes on.
 *
 * @param patienceMs - how long it waits for transactions that are still open; then it throws
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
