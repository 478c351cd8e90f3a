import type { QueryRunner } from 'typeorm';
import { MigrationError } from '../errors.js';
import type { Step } from './adoption.steps.js';
import { columnSteps, constraintSteps, qualified } from './adoption.steps.js';
import type { FirstTable } from './first.tables.js';
import { FIRST_TABLES } from './first.tables.js';
import type { MigrationRecord } from './migration.record.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import type { FoundColumn } from './older.database.js';
import { olderDifferences } from './older.database.js';

/** What cannot be known of an older database, and has to be said. */
export interface AdoptionChoices {
  /** The time zone in which the services wrote times without one, such as `UTC`. */
  readonly timeZone: string;
  /** Jobs that were being processed: run them again, or leave them as they are. */
  readonly processing: 'retry' | 'keep';
  /** Notifications that are not known to be sent: mark them as failed, to be looked at; or send them. */
  readonly pendingNotifications: 'hold' | 'send';
}

/** What is to be done to one table. */
export interface Plan {
  readonly table: FirstTable;
  readonly rows: number;
  readonly steps: readonly Step[];
}

/** The message that a held notification gets. */
const HELD = 'Adopted from an older database: not known whether it was sent.';

/**
 * What it takes to make an older database what the first three migrations make; nothing if there is
 * none. Changes nothing.
 *
 * @throws MigrationError if it cannot be done
 */
export async function planAdoption(
  runner: QueryRunner,
  record: MigrationRecord,
  choices: AdoptionChoices,
): Promise<Plan[]> {
  const recorded = await record.applied();
  const columns = await record.columns();
  // Refuses a time zone that there is not.
  await runner.query(`SELECT now() AT TIME ZONE $1`, [choices.timeZone]);
  const differences = olderDifferences(columns, recorded);
  if (differences.length === 0) return [];
  const missing = FIRST_TABLES.filter(({ name }) => columns.every(({ table }) => table !== name));
  if (missing.length > 0) {
    throw new MigrationError(
      `The database cannot be adopted: it has not all of the tables of before. ` +
        `${missing.map(({ name }) => name).join(', ')} is missing.`,
    );
  }
  const plans: Plan[] = [];
  const first = new Set(FIRST_TABLES.map(({ migration }) => migration));
  const later = recorded.filter((name) => isFrameForgeMigration(name) && !first.has(name));
  if (later.length > 0) {
    throw new MigrationError(
      `The database cannot be adopted: ${later.join(', ')} has run on it already. Change by hand what ` +
        `differs: ${differences.join('; ')}.`,
    );
  }
  for (const table of FIRST_TABLES) {
    const found = columns.filter((column) => column.table === table.name);
    const { removals, additions } = await constraintSteps(runner, table, found);
    const steps = [...removals, ...columnSteps(table, found, choices.timeZone), ...additions];
    const [row] = (await runner.query(
      `SELECT count(*)::int AS "rows" FROM ${qualified(runner, table.name)}`,
    )) as { rows: number }[];
    plans.push({ table, rows: row?.rows ?? 0, steps });
  }
  return Promise.all(
    plans.map(async (plan) => {
      const found = columns.filter((column) => column.table === plan.table.name);
      const unknown = await unknownSteps(runner, plan.table, found, choices);
      return { ...plan, steps: [...plan.steps, ...unknown] };
    }),
  );
}

/** What is decided about rows of which nobody can know what became of them. */
async function unknownSteps(
  runner: QueryRunner,
  { name }: FirstTable,
  found: readonly FoundColumn[],
  choices: AdoptionChoices,
): Promise<Step[]> {
  const count = async (columns: readonly string[], value: string): Promise<number> => {
    const column = found.find((each) => columns.includes(each.name))?.name ?? columns[0];
    const [row] = (await runner.query(
      `SELECT count(*)::int AS "rows" FROM ${qualified(runner, name)} WHERE "${column}"::text = $1`,
      [value],
    )) as { rows: number }[];
    return row?.rows ?? 0;
  };
  if (name === 'video_jobs' && choices.processing === 'retry') {
    const rows = await count(['status'], 'processing');
    const sql = `UPDATE video_jobs SET "status" = 'pending', "startedAt" = NULL WHERE "status" = 'processing'`;
    const words = `make ${rows} jobs that were being processed pending, to be run again (--processing)`;
    return rows === 0 ? [] : [{ words, sql }];
  }
  if (name === 'notification_log' && choices.pendingNotifications === 'hold') {
    const rows = await count(['deliveryStatus', 'delivery_status', 'status'], 'pending');
    const sql = `UPDATE notification_log SET "deliveryStatus" = 'failed', "errorMessage" = $1
      WHERE "deliveryStatus" = 'pending'`;
    const words =
      `mark ${rows} pending notifications as failed, as nobody knows whether they were sent ` +
      `(--pending-notifications)`;
    return rows === 0 ? [] : [{ words, sql, parameters: [HELD] }];
  }
  return [];
}
