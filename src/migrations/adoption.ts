import type { DataSource } from 'typeorm';
import type { AdoptionChoices, Plan } from './adoption.plan.js';
import { planAdoption } from './adoption.plan.js';
import { FIRST_TABLES } from './first.tables.js';
import type { LockOptions } from './migration.lock.js';
import { knownMigrations, MigrationRecord } from './migration.record.js';
import { underLock } from './migration.runner.js';

/** What an adoption does to one table. */
export interface AdoptedTable {
  readonly name: string;
  readonly rows: number;
  /** In words, in the order in which it is done. */
  readonly steps: readonly string[];
}

/**
 * Makes an older database what the first three migrations make, in one transaction and under the lock
 * of migrations. Rows and values are kept; columns that have no place go to a table beside.
 *
 * @param apply - false to say only what would be done
 * @returns what was, or would be, done; nothing if the database is adopted already
 * @throws MigrationError if it cannot be done; nothing was changed then
 */
export async function adopt(
  dataSource: DataSource,
  choices: AdoptionChoices,
  apply: boolean,
  lock: LockOptions,
): Promise<AdoptedTable[]> {
  if (!apply) {
    const runner = dataSource.createQueryRunner('master');
    try {
      const record = new MigrationRecord(dataSource, runner);
      return (await planAdoption(runner, record, choices)).map(toldOf);
    } finally {
      await runner.release();
    }
  }
  const done = await underLock(dataSource, lock, 'Adopting', (executor) =>
    executor.alone(async (runner, record) => {
      const { schema } = dataSource.options as { schema?: string };
      if (schema !== undefined) {
        await runner.query(`SELECT set_config('search_path', $1, true)`, [
          dataSource.driver.escape(schema),
        ]);
      }
      await runner.query(
        `SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '0', true)`,
      );
      const names = FIRST_TABLES.map(({ name }) => name);
      const found = new Set((await record.columns()).map(({ table }) => table));
      const there = names.filter((name) => found.has(name));
      if (there.length > 0) await runner.query(`LOCK TABLE ${there.join(', ')}`);
      const plan = await planAdoption(runner, record, choices);
      for (const { steps } of plan) {
        for (const { sql, parameters } of steps) {
          if (sql !== undefined) await runner.query(sql, [...(parameters ?? [])]);
        }
      }
      if (plan.length > 0) await record.create();
      const recorded = await record.applied();
      const first = new Set(FIRST_TABLES.map(({ migration }) => migration));
      for (const migration of knownMigrations(dataSource)) {
        const isMissing = first.has(migration.name) && !recorded.includes(migration.name);
        if (plan.length > 0 && isMissing) await record.add(migration);
      }
      return plan.map(toldOf);
    }),
  );
  return done ?? [];
}

const toldOf = ({ table, rows, steps }: Plan): AdoptedTable => ({
  name: table.name,
  rows,
  steps: steps.map(({ words }) => words),
});
