import { parseArgs } from 'node:util';
import type { AdoptionChoices } from '../migrations/adoption.plan.js';

export const COMMANDS = ['migrate', 'revert', 'status', 'check', 'adopt'] as const;
export type Command = (typeof COMMANDS)[number];

/** What the command line asks for. */
export interface Arguments {
  readonly command: Command;
  /** The file whose data source is meant; the environment's if left out. */
  readonly file?: string;
  readonly lockTimeoutMs?: number;
  /** Build indexes while writes go on. */
  readonly online: boolean;
  /** For adopt: what the command line says, or the defaults. */
  readonly adoption?: Adoption;
}

/** What `adopt` is given. */
export interface Adoption extends AdoptionChoices {
  readonly yes: boolean;
}

export const USAGE = `Usage: frameforge-db <command> [options]

  migrate   run the pending migrations, one process at a time
  revert    undo the newest of the migrations that are known here
  status    list the migrations: [x] applied, [ ] pending, [?] of a newer release, [-] of another service
  check     exit with 1 if migrations are pending or the schema differs from the entities
  adopt     say what it would take to make an older database this package's; with --yes, do it

Options:
  -d, --data-source <file>   a module that exports a TypeORM DataSource; without it the database is
                             that of DATABASE_URL, or of DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME
  --lock-timeout <ms>        how long to wait for another process that is migrating (300000)
  --online                   for migrate: build indexes while writes go on (see docs/operations.md)
  --time-zone <zone>         for adopt: in which the services wrote times, such as UTC
  --processing <what>        for adopt: jobs that were being processed: retry (default), keep
  --pending-notifications <what>  for adopt: hold (default: marked as failed, not sent), send
  --yes                      for adopt: do it
  -h, --help                 show this`;

/** The command line is wrong. */
export class UsageError extends Error {
  static {
    this.prototype.name = 'UsageError';
  }
}

/**
 * Reads the command line.
 *
 * @returns undefined if only help was asked for
 * @throws UsageError
 */
export function readArguments(args: readonly string[]): Arguments | undefined {
  const { values, positionals } = parse(args);
  if (values.help === true) return undefined;
  const [command, ...rest] = positionals;
  if (command === undefined) throw new UsageError(`give a command: ${COMMANDS.join(', ')}`);
  if (!isCommand(command)) throw new UsageError(`there is no command '${command}'`);
  if (rest.length > 0) throw new UsageError(`'${rest.join(' ')}' is too much`);
  const timeout = values['lock-timeout'];
  if (timeout !== undefined && !/^\d{1,9}$/.test(timeout)) {
    throw new UsageError(`--lock-timeout is '${timeout}': give whole milliseconds`);
  }
  const { online = false } = values;
  if (online && command !== 'migrate') throw new UsageError(`--online is for migrate`);
  return {
    command,
    online,
    adoption: readAdoption(command, values),
    file: values['data-source'],
    lockTimeoutMs: timeout === undefined ? undefined : Number(timeout),
  };
}

function readAdoption(command: Command, values: Values): Adoption | undefined {
  const options = ['time-zone', 'processing', 'pending-notifications', 'yes'] as const;
  if (command !== 'adopt') {
    const strange = options.find((option) => values[option] !== undefined);
    if (strange !== undefined) throw new UsageError(`--${strange} is for adopt`);
    return undefined;
  }
  const {
    'time-zone': timeZone,
    processing = 'retry',
    'pending-notifications': pendingNotifications = 'hold',
    yes = false,
  } = values;
  if (timeZone === undefined) {
    throw new UsageError(
      `adopt needs --time-zone: the zone in which the services wrote times, which is UTC in most containers`,
    );
  }
  if (processing !== 'retry' && processing !== 'keep') {
    throw new UsageError(`--processing is '${processing}': give retry or keep`);
  }
  if (pendingNotifications !== 'hold' && pendingNotifications !== 'send') {
    throw new UsageError(`--pending-notifications is '${pendingNotifications}': give hold or send`);
  }
  return { timeZone, processing, pendingNotifications, yes };
}

interface Values {
  readonly help?: boolean;
  readonly online?: boolean;
  readonly yes?: boolean;
  readonly 'data-source'?: string;
  readonly 'lock-timeout'?: string;
  readonly 'time-zone'?: string;
  readonly processing?: string;
  readonly 'pending-notifications'?: string;
}

function parse(args: readonly string[]): { values: Values; positionals: string[] } {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        'data-source': { type: 'string', short: 'd' },
        'lock-timeout': { type: 'string' },
        online: { type: 'boolean' },
        yes: { type: 'boolean' },
        'time-zone': { type: 'string' },
        processing: { type: 'string' },
        'pending-notifications': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

const isCommand = (name: string): name is Command => (COMMANDS as readonly string[]).includes(name);
