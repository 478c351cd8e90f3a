import type { DataSource } from 'typeorm';
import type { AdoptionChoices, Plan } from './adoption.plan.js';
import { planAdoption } from './adoption.plan.js';
import { FIRST_TABLES } from './first.tables.js';
import type { LockOptions } from './migration.lock.js';
import { knownMigrations, MigrationRecord } from './migration.record.js';
import { underLock } from './migration.runner.js';

/** The steps of an adoption for one table. */
export interface AdoptedTable {
  readonly name: string;
  readonly rows: number;
  /** A description of each step, in order. */
  readonly steps: readonly string[];
}

/**
 * Turns an older database into the schema of the first three migrations, in one transaction and under the
 * lock of the migrations. All rows and values are kept. Columns without a place go to a table beside.
 *
 * @param apply - false only plans the steps and changes nothing
 * @returns the steps that were done, or would be done; empty if the database is adopted already
 * @throws MigrationError if the database cannot be adopted; nothing was changed
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
