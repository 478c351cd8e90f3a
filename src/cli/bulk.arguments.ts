import { UsageError } from './usage.error.js';

export const BULK_COMMANDS = ['retry', 'cancel', 'redeliver', 'prune'] as const;
export type BulkCommand = (typeof BULK_COMMANDS)[number];

/** Which rows a command changes, and whether it only counts them. */
export interface BulkArguments {
  /** The filter for the method of the service. Times and numbers are converted already. */
  readonly filter: Readonly<Record<string, unknown>>;
  readonly yes: boolean;
}

type Reader = (option: string, text: string) => unknown;

const asText: Reader = (_, text) => text;

const asCount: Reader = (option, text) => {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(`--${option} is '${text}': give a whole number, 1 or more`);
};

const UNITS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000 };
const ISO_8601 = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

/** Reads a time, or how long ago a time was. A date alone is the begin of that day in UTC. */
const asTime: Reader = (option, text) => {
  const [, number, unit = ''] = /^(\d{1,5})([dhm])$/.exec(text) ?? [];
  const ago = Number(number) * (UNITS[unit] ?? 0);
  const time = number === undefined ? new Date(text) : new Date(Date.now() - ago);
  if ((number !== undefined || ISO_8601.test(text)) && time.getTime() >= 0) return time;
  throw new UsageError(
    `--${option} is '${text}': give a time such as 2030-01-31T12:00:00Z, or how long ago, such as 30d, 12h or 15m`,
  );
};

interface Option {
  readonly property: string;
  readonly read: Reader;
  readonly for: readonly BulkCommand[];
}

const CHANGES = ['retry', 'cancel', 'redeliver'] as const;

/** The options of these commands, and the property of the filter that each option sets. */
export const BULK_OPTIONS: Readonly<Record<string, Option>> = {
  user: { property: 'userId', read: asText, for: CHANGES },
  job: { property: 'jobId', read: asText, for: ['redeliver'] },
  status: { property: 'status', read: asText, for: ['cancel', 'prune'] },
  'created-from': { property: 'createdFrom', read: asTime, for: CHANGES },
  'created-before': { property: 'createdBefore', read: asTime, for: CHANGES },
  'ended-from': { property: 'endedFrom', read: asTime, for: ['retry'] },
  'ended-before': { property: 'endedBefore', read: asTime, for: ['retry'] },
  'older-than': { property: 'olderThan', read: asTime, for: ['prune'] },
  error: { property: 'errorText', read: asText, for: CHANGES },
  limit: { property: 'limit', read: asCount, for: CHANGES },
  reason: { property: 'reason', read: asText, for: ['cancel'] },
};

export const isBulkCommand = (command: string): command is BulkCommand =>
  (BULK_COMMANDS as readonly string[]).includes(command);

/** @throws UsageError if an option is wrong, or belongs to another command */
export function readBulk(
  command: string,
  values: Readonly<Record<string, string | boolean | undefined>>,
): BulkArguments | undefined {
  const filter: Record<string, unknown> = {};
  for (const [option, { property, read, for: commands }] of Object.entries(BULK_OPTIONS)) {
    const text = values[option];
    if (typeof text !== 'string') continue;
    if (!(commands as readonly string[]).includes(command)) {
      throw new UsageError(`--${option} is for ${commands.join(', ')}`);
    }
    filter[property] = read(option, text);
  }
  if (!isBulkCommand(command)) return undefined;
  if (command === 'prune' && filter['olderThan'] === undefined) {
    throw new UsageError(
      'prune needs --older-than: it removes the jobs that ended before that time',
    );
  }
  return { filter, yes: values['yes'] === true };
}
