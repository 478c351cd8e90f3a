import { parseArgs } from 'node:util';
import type { AdoptionChoices } from '../migrations/adoption.plan.js';
import { BULK_COMMANDS, BULK_OPTIONS, isBulkCommand, readBulk } from './bulk.arguments.js';
import type { BulkArguments } from './bulk.arguments.js';
import { UsageError } from './usage.error.js';

export const COMMANDS = [
  'migrate',
  'revert',
  'status',
  'check',
  'adopt',
  ...BULK_COMMANDS,
] as const;
export type Command = (typeof COMMANDS)[number];

/** The arguments of the command line. */
export interface Arguments {
  readonly command: Command;
  /** The file that exports the data source. If left out, the command reads the environment. */
  readonly file?: string;
  readonly lockTimeoutMs?: number;
  /** Whether to build indexes while writes go on. */
  readonly online: boolean;
  /** For adopt: the choices of the command line, or the defaults. */
  readonly adoption?: Adoption;
  /** For retry, cancel, redeliver and prune: which rows to change. */
  readonly bulk?: BulkArguments;
}

/** The choices for `adopt`. */
export interface Adoption extends AdoptionChoices {
  readonly yes: boolean;
}

export const USAGE = `Usage: frameforge-db <command> [options]

  migrate   run the pending migrations, one process at a time
  revert    undo the newest migration that this release or the data source knows
  status    list the migrations: [x] applied, [ ] pending, [?] of a newer release, [-] of another service
  check     exit with 1 if migrations are pending or the schema differs from the entities
  adopt     list how the tables of an older database would be converted; with --yes, convert them
  retry     count the failed jobs that match; with --yes, make them pending again
  cancel    count the pending and processing jobs that match; with --yes, cancel them
  redeliver count the failed notifications that match; with --yes, deliver them again
  prune     count the jobs that ended before --older-than; with --yes, remove them

Options:
  -d, --data-source <file>   a module that exports a TypeORM DataSource. Without it, the command reads
                             DATABASE_URL, or DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME
  --lock-timeout <ms>        how long to wait for another process that is migrating (300000)
  --online                   for migrate: build indexes while writes go on (see docs/guides/large-tables.md)
  --time-zone <zone>         for adopt: the zone in which the services wrote times, such as UTC
  --processing <what>        for adopt: what to do with jobs that are processing: retry (default) or keep
  --pending-notifications <what>  for adopt: hold (default: mark them as failed, do not send them) or send
  --user <id>                for retry, cancel, redeliver: only of this user
  --job <id>                 for redeliver: only of this job
  --status <status>          for cancel: pending or processing; for prune: completed or failed
  --created-from <time>, --created-before <time>, --error <text>, --limit <number>
                             for retry, cancel, redeliver: only these rows, the oldest first. A time is
                             2030-01-31T12:00:00Z, or how long ago: 30d, 12h, 15m
  --ended-from <time>, --ended-before <time>  for retry: when the jobs failed
  --reason <text>            for cancel: the text that the users of the jobs read
  --older-than <time>        for prune: remove jobs that ended before then
  --yes                      for adopt, retry, cancel, redeliver, prune: make the changes, instead of only showing them
  -h, --help                 show this`;

/**
 * Reads the command line.
 *
 * @returns undefined if the command line asks only for help
 * @throws UsageError
 */
export function readArguments(args: readonly string[]): Arguments | undefined {
  const { values, positionals } = parse(args);
  if (values.help === true) return undefined;
  const [command, ...rest] = positionals;
  if (command === undefined)
    throw new UsageError(`give one of these commands: ${COMMANDS.join(', ')}`);
  if (!isCommand(command)) throw new UsageError(`there is no command '${command}'`);
  if (rest.length > 0) throw new UsageError(`'${rest.join(' ')}' is not needed: give one command`);
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
    bulk: readBulk(command, values),
    file: values['data-source'],
    lockTimeoutMs: timeout === undefined ? undefined : Number(timeout),
  };
}

function readAdoption(command: Command, values: Values): Adoption | undefined {
  const options = ['time-zone', 'processing', 'pending-notifications'] as const;
  if (command !== 'adopt') {
    const isMeant = values.yes === undefined || isBulkCommand(command);
    const strange =
      options.find((option) => values[option] !== undefined) ?? (isMeant ? undefined : 'yes');
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
      `adopt needs --time-zone: the time zone in which the services wrote times (UTC in most containers)`,
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

interface Values extends Readonly<Record<string, string | boolean | undefined>> {
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
        ...Object.fromEntries(
          Object.keys(BULK_OPTIONS).map((option) => [option, { type: 'string' as const }]),
        ),
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

const isCommand = (name: string): name is Command => (COMMANDS as readonly string[]).includes(name);
