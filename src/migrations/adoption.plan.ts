import type { QueryRunner } from 'typeorm';
import { MigrationError } from '../errors.js';
import { obstacles } from './adoption.obstacles.js';
import type { Step } from './adoption.steps.js';
import { columnFor, columnSteps, constraintSteps } from './adoption.steps.js';
import { literal, qualified, quoted } from './adoption.steps.js';
import type { FirstTable } from './first.tables.js';
import { FIRST_TABLES } from './first.tables.js';
import type { MigrationRecord } from './migration.record.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import type { FoundColumn } from './older.database.js';
import { olderDifferences } from './older.database.js';

/** What cannot be known of an older database, and has to be said. */
export interface AdoptionChoices {
  /** The time zone of the times that the services wrote without a zone, such as `UTC`. */
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
  const plans: Plan[] = [];
  const first = new Set(FIRST_TABLES.map(({ migration }) => migration));
  const later = recorded.filter((name) => isFrameForgeMigration(name) && !first.has(name));
  if (later.length > 0) {
    throw new MigrationError(
      `The database cannot be adopted: ${later.join(', ')} has already run on it. Change by hand what ` +
        `differs: ${differences.join('; ')}.`,
    );
  }
  const problems: string[] = [];
  for (const table of FIRST_TABLES) {
    problems.push(...(await obstacles(runner, table, columns, choices.timeZone)));
  }
  if (problems.length > 0) {
    throw new MigrationError(
      `The database cannot be adopted as it is, and nothing was changed: ${problems.join('; ')}. ` +
        `Correct this, and start again. If the tables are somebody else's, give this package a schema ` +
        `of its own, by the option \`schema\`.`,
    );
  }
  const keys: Step[] = [];
  for (const table of FIRST_TABLES) {
    const found = columns.filter((column) => column.table === table.name);
    const constraints = await constraintSteps(runner, table, found);
    keys.push(...constraints.keys);
    const steps = [
      ...constraints.removals,
      ...columnSteps(table, found, choices.timeZone),
      ...constraints.additions,
      ...(await unknownSteps(runner, table, found, choices)),
    ];
    plans.push({ table, rows: await rowsOf(runner, table, found), steps });
  }
  // No table can be changed under a foreign key of another one.
  return plans.map((plan, index) =>
    index === 0 ? { ...plan, steps: [...keys, ...plan.steps] } : plan,
  );
}

async function rowsOf(
  runner: QueryRunner,
  { name }: FirstTable,
  found: readonly FoundColumn[],
  condition = 'true',
): Promise<number> {
  if (found.length === 0) return 0;
  const [row] = (await runner.query(
    `SELECT count(*)::int AS "rows" FROM ${qualified(runner, name)} WHERE ${condition}`,
  )) as { rows: number }[];
  return row?.rows ?? 0;
}

/** The operator's decisions about things that the command cannot know. */
async function unknownSteps(
  runner: QueryRunner,
  table: FirstTable,
  found: readonly FoundColumn[],
  choices: AdoptionChoices,
): Promise<Step[]> {
  const steps = await repeatedHours(runner, table, found, choices.timeZone);
  const count = async (name: string, value: string): Promise<number> => {
    const wanted = table.columns.find((column) => column.name === name);
    const column = wanted === undefined ? undefined : columnFor(wanted, found);
    if (column === undefined) return 0;
    return rowsOf(runner, table, found, `${quoted(column.name)}::text = ${literal(value)}`);
  };
  if (table.name === 'video_jobs' && choices.processing === 'retry') {
    const rows = await count('status', 'processing');
    const sql = `UPDATE video_jobs SET "status" = 'pending', "startedAt" = NULL WHERE "status" = 'processing'`;
    const words = `make ${rows} jobs that were being processed pending, to be run again (--processing)`;
    if (rows > 0) steps.push({ words, sql });
  }
  if (table.name === 'notification_log' && choices.pendingNotifications === 'hold') {
    const rows = await count('deliveryStatus', 'pending');
    const sql = `UPDATE notification_log SET "deliveryStatus" = 'failed',
        "errorMessage" = $1 || coalesce(' Its error until then: ' || "errorMessage", '')
      WHERE "deliveryStatus" = 'pending'`;
    const words =
      `mark ${rows} pending notifications as failed, as nobody knows whether they were sent ` +
      `(--pending-notifications)`;
    if (rows > 0) steps.push({ words, sql, parameters: [HELD] });
  }
  return steps;
}

/** When the clocks are put back, an hour comes twice. */
async function repeatedHours(
  runner: QueryRunner,
  table: FirstTable,
  found: readonly FoundColumn[],
  timeZone: string,
): Promise<Step[]> {
  const zone = literal(timeZone);
  const steps: Step[] = [];
  for (const wanted of table.columns) {
    const column = columnFor(wanted, found);
    if (column?.type.endsWith('without time zone') !== true) continue;
    const it = quoted(column.name);
    const other = (sign: string): string =>
      `((${it} AT TIME ZONE ${zone}) ${sign} interval '1 hour') AT TIME ZONE ${zone} = ${it}`;
    const rows = await rowsOf(runner, table, found, `${other('+')} OR ${other('-')}`);
    const words = `know that ${rows} times of ${quoted(wanted.name)} are in an hour that came twice in ${timeZone}: the later of the two is taken`;
    if (rows > 0) steps.push({ words });
  }
  return steps;
}
