import type { DataSource } from 'typeorm';
import { adopt } from '../migrations/adoption.js';
import { counted } from '../migrations/adoption.steps.js';
import { bringUpToDate, lockOptions } from '../migrations/migrate.js';
import type { BootLogger } from '../connection/boot.logger.js';
import { revertMigration } from '../migrations/migration.runner.js';
import { migrationStatus } from '../migrations/migration.status.js';
import { olderDatabaseError } from '../migrations/older.database.js';
import { connect } from '../connection/connect.js';
import { describe } from '../migrations/schema.difference.js';
import { schemaDrift } from '../migrations/schema.drift.js';
import { fromDriver } from '../errors.driver.js';
import { reasonOf } from '../errors.text.js';
import { isBulkCommand } from './bulk.arguments.js';
import type { BulkArguments } from './bulk.arguments.js';
import { changeMany } from './bulk.commands.js';
import { readArguments, USAGE } from './cli.arguments.js';
import type { Adoption, Command } from './cli.arguments.js';
import { UsageError } from './usage.error.js';
import { readDataSource } from './cli.data-source.js';

/** Where a command writes its lines. */
export interface Output {
  out(line: string): void;
  err(line: string): void;
}

interface Context extends Output {
  readonly dataSource: DataSource;
  readonly lockTimeoutMs: number;
  readonly online: boolean;
  readonly adoption: Adoption | undefined;
  readonly command: Command;
  readonly bulk: BulkArguments | undefined;
  readonly logger: BootLogger;
}

const COMMAND: Record<Command, (context: Context) => Promise<number>> = {
  migrate,
  revert,
  status,
  check,
  adopt: adoptOlder,
  retry: many,
  cancel: many,
  redeliver: many,
  prune: many,
};

/** How long a command waits for a database that is not up yet, and for running statements at its end. */
const PATIENCE = { connectRetryMs: 60_000, shutdownTimeoutMs: 10_000 };

/**
 * Runs a command line.
 *
 * @returns the exit code: 0, or 1 if the command failed or found something, or 2 if the command line is wrong
 */
export async function run(args: readonly string[], output: Output): Promise<number> {
  try {
    const given = readArguments(args);
    if (given === undefined) {
      output.out(USAGE);
      return 0;
    }
    const { command, file, online, adoption, bulk, lockTimeoutMs = 300_000 } = given;
    const logger = { log: output.out, warn: output.err };
    const dataSource = await connect(await readDataSource(file), PATIENCE, logger);
    try {
      return await COMMAND[command]({
        ...output,
        dataSource,
        lockTimeoutMs,
        online,
        adoption,
        command,
        bulk,
        logger,
      });
    } catch (error) {
      throw fromDriver(error, `frameforge-db ${command}`);
    } finally {
      await dataSource.destroy();
    }
  } catch (error) {
    output.err(`frameforge-db: ${reasonOf(error)}`);
    if (!(error instanceof UsageError)) return 1;
    output.err(`\n${USAGE}`);
    return 2;
  }
}

async function migrate({
  dataSource,
  lockTimeoutMs,
  online,
  logger,
  out,
}: Context): Promise<number> {
  let told = false;
  const options = {
    migrationsRun: true,
    migrationsLockTimeoutMs: lockTimeoutMs,
    requireCurrentSchema: false,
  };
  const log = (message: string): void => {
    told = true;
    logger.log(message);
  };
  await bringUpToDate(dataSource, options, { ...logger, log }, online);
  if (!told) out('Nothing to do: all migrations of this release are applied.');
  return 0;
}

async function revert({ dataSource, lockTimeoutMs, logger, out }: Context): Promise<number> {
  const name = await revertMigration(dataSource, lockOptions(lockTimeoutMs, logger));
  out(name === undefined ? 'Nothing to do: no migration is applied.' : `Reverted: ${name}.`);
  return 0;
}

async function status({ dataSource, out }: Context): Promise<number> {
  const { applied, pending, unknown, others, older } = await migrationStatus(dataSource);
  for (const name of applied) out(`[x] ${name}`);
  for (const name of others) out(`[-] ${name}`);
  for (const name of unknown) out(`[?] ${name}`);
  for (const name of pending) out(`[ ] ${name}`);
  if (older.length > 0) throw olderDatabaseError(older);
  return 0;
}

async function check({ dataSource, out }: Context): Promise<number> {
  const { pending, older } = await migrationStatus(dataSource);
  const drift = await schemaDrift(dataSource);
  if (pending.length > 0) out(`Pending migrations: ${pending.join(', ')}.`);
  if (drift.length > 0) {
    out('The schema differs from the entities:');
    for (const difference of drift) out(`  ${describe(difference)}`);
    if (drift.some(({ losesData }) => losesData)) {
      out(
        '[!] marks tables and columns that hold data. Do not drop them: write a migration that keeps the data ' +
          '(ALTER COLUMN ... TYPE ... USING ...).',
      );
    }
  }
  if (older.length > 0) out(olderDatabaseError(older).message);
  if (pending.length + drift.length + older.length > 0) return 1;
  out('The schema agrees with the entities, and no migration is pending.');
  return 0;
}

async function adoptOlder({
  dataSource,
  lockTimeoutMs,
  adoption,
  logger,
  out,
}: Context): Promise<number> {
  // `readArguments` has set it for this command.
  if (adoption === undefined) return 2;
  const { yes, ...choices } = adoption;
  const tables = await adopt(dataSource, choices, yes, lockOptions(lockTimeoutMs, logger));
  if (tables.length === 0) {
    out('Nothing to do: the database has no older tables.');
    return 0;
  }
  for (const { name, rows, steps } of tables) {
    out(`${name}: ${counted(rows, 'row')}`);
    for (const step of steps) out(`  ${step}`);
  }
  out(
    yes
      ? 'Adopted. Now run npx frameforge-db migrate, and then npx frameforge-db check.'
      : 'Nothing was changed. Stop all services, back up the database, and run this again with --yes.',
  );
  return 0;
}

async function many({ dataSource, command, bulk, out }: Context): Promise<number> {
  // `readArguments` has set both for this command.
  if (bulk === undefined || !isBulkCommand(command)) return 2;
  await changeMany(dataSource, command, bulk, out);
  return 0;
}
