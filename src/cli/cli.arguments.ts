import { parseArgs } from 'node:util';

export const COMMANDS = ['migrate', 'revert', 'status', 'check'] as const;
export type Command = (typeof COMMANDS)[number];

/** What the command line asks for. */
export interface Arguments {
  readonly command: Command;
  /** The file whose data source is meant; the environment's if left out. */
  readonly file?: string;
  readonly lockTimeoutMs?: number;
  /** Build indexes while writes go on. */
  readonly online: boolean;
}

export const USAGE = `Usage: frameforge-db <command> [options]

  migrate   run the pending migrations, one process at a time
  revert    undo the newest of the migrations that are known here
  status    list the migrations: [x] applied, [ ] pending, [?] of a newer release, [-] of another service
  check     exit with 1 if migrations are pending or the schema differs from the entities

Options:
  -d, --data-source <file>   a module that exports a TypeORM DataSource; without it the database is
                             that of DATABASE_URL, or of DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME
  --lock-timeout <ms>        how long to wait for another process that is migrating (300000)
  --online                   for migrate: build indexes while writes go on (see docs/operations.md)
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
    file: values['data-source'],
    lockTimeoutMs: timeout === undefined ? undefined : Number(timeout),
  };
}

function parse(args: readonly string[]): {
  values: { help?: boolean; online?: boolean; 'data-source'?: string; 'lock-timeout'?: string };
  positionals: string[];
} {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        'data-source': { type: 'string', short: 'd' },
        'lock-timeout': { type: 'string' },
        online: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

const isCommand = (name: string): name is Command => (COMMANDS as readonly string[]).includes(name);
