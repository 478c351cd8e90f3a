import type { QueryRunner } from 'typeorm';
import { MigrationError } from '../errors.js';
import { obstacles } from './adoption.obstacles.js';
import type { Step } from './adoption.steps.js';
import { columnFor, columnSteps, constraintSteps, counted } from './adoption.steps.js';
import { literal, qualified, quoted } from './adoption.steps.js';
import type { FirstTable } from './first.tables.js';
import { FIRST_TABLES } from './first.tables.js';
import type { MigrationRecord } from './migration.record.js';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import type { FoundColumn } from './older.database.js';
import { olderDifferences } from './older.database.js';

/** Facts about an older database that the operator must give, because they cannot be read from it. */
export interface AdoptionChoices {
  /** The time zone of the times that the services wrote without a zone, such as `UTC`. */
  readonly timeZone: string;
  /** What to do with jobs that are processing: run them again, or leave them as they are. */
  readonly processing: 'retry' | 'keep';
  /** What to do with pending notifications, which may have been sent: mark them as failed for a later look, or send them. */
  readonly pendingNotifications: 'hold' | 'send';
}

/** The steps for one table. */
export interface Plan {
  readonly table: FirstTable;
  readonly rows: number;
  readonly steps: readonly Step[];
}

/** The message that a held notification gets. */
const HELD = 'Held by frameforge-db adopt: it may have been sent already.';

/**
 * Plans the steps that turn an older database into the schema of the first three migrations. Changes
 * nothing. Returns no plan if the database has none of the tables.
 *
 * @throws MigrationError if the database cannot be adopted
 */
export async function planAdoption(
  runner: QueryRunner,
  record: MigrationRecord,
  choices: AdoptionChoices,
): Promise<Plan[]> {
  const recorded = await record.applied();
  const columns = await record.columns();
  // The query fails if the time zone does not exist.
  await runner.query(`SELECT now() AT TIME ZONE $1`, [choices.timeZone]);
  const differences = olderDifferences(columns, recorded);
  if (differences.length === 0) return [];
  const plans: Plan[] = [];
  const first = new Set(FIRST_TABLES.map(({ migration }) => migration));
  const later = recorded.filter((name) => isFrameForgeMigration(name) && !first.has(name));
  if (later.length > 0) {
    throw new MigrationError(
      `The database cannot be adopted, because these migrations have already run on it: ` +
        `${later.join(', ')}. Correct these differences by hand: ${differences.join('; ')}.`,
    );
  }
  const problems: string[] = [];
  for (const table of FIRST_TABLES) {
    problems.push(...(await obstacles(runner, table, columns, choices.timeZone)));
  }
  if (problems.length > 0) {
    throw new MigrationError(
      `The database cannot be adopted as it is, and nothing was changed: ${problems.join('; ')}. ` +
        `Correct this, and run the command again. If the tables belong to another program, give this ` +
        `package its own schema with the option \`schema\`.`,
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
  // The type of a column cannot change while a foreign key of another table uses it.
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

/** The steps that follow from the operator's choices. */
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
    const words = `set ${counted(rows, 'processing job')} to pending, to run again (--processing)`;
    if (rows > 0) steps.push({ words, sql });
  }
  if (table.name === 'notification_log' && choices.pendingNotifications === 'hold') {
    const rows = await count('deliveryStatus', 'pending');
    const sql = `UPDATE notification_log SET "deliveryStatus" = 'failed',
        "errorMessage" = $1 || coalesce(' Its earlier error: ' || "errorMessage", '')
      WHERE "deliveryStatus" = 'pending'`;
    const words =
      `mark ${counted(rows, 'pending notification')} as failed and do not send them, because they may ` +
      `have been sent already (--pending-notifications)`;
    if (rows > 0) steps.push({ words, sql, parameters: [HELD] });
  }
  return steps;
}

/** Says how many times are ambiguous. When the clocks are put back, one hour of the clock comes twice. */
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
    const words = `note: ${counted(rows, 'time')} of ${quoted(wanted.name)} can mean two hours, because the clocks in ${timeZone} were put back; the later hour is used`;
    if (rows > 0) steps.push({ words });
  }
  return steps;
}
