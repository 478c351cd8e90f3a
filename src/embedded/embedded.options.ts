import { ConfigurationError } from '../errors.js';
import { MAX_MS, optionProblems, text, wholeNumber } from '../input/option.rules.js';
import type { OptionRule } from '../input/option.rules.js';

/** Options of {@link startEmbeddedPostgres}. */
export interface EmbeddedPostgresOptions {
  /**
   * The directory that keeps the data from one start to the next; created when missing. The password
   * of the database is kept in it too, readable by its owner only. Default: a temporary directory,
   * removed when the server stops.
   */
  dataDir?: string;
  /**
   * The database that `url` names; created when missing. Up to 63 letters, digits, `_` and `-`.
   * Default `frameforge`.
   */
  database?: string;
  /** The TCP port on 127.0.0.1. Default: a free one. */
  port?: number;
  /**
   * Settings of the server, as in postgresql.conf. Default: `max_connections` 200; with a temporary
   * directory also `fsync`, `synchronous_commit` and `full_page_writes` off, which is fast and loses
   * data only if the machine crashes. The port and the addresses are not settings here.
   */
  settings?: Record<string, string | number | boolean>;
  /** How long the start may take, in milliseconds. Default 60,000. */
  timeoutMs?: number;
}

/** The settings that a caller cannot change, and what to do. */
const FIXED: Readonly<Record<string, string>> = {
  port: 'use the option `port`',
  listen_addresses: 'the server listens on 127.0.0.1 only',
  unix_socket_directories: 'the server listens on 127.0.0.1 only',
};

const database: OptionRule = (value) =>
  typeof value === 'string' && /^[\w-]{1,63}$/.test(value)
    ? undefined
    : `must be 1 to 63 letters, digits, "_" or "-", and is ${JSON.stringify(value)}`;

const settings: OptionRule = (value) => {
  if (typeof value !== 'object' || value === null) return 'must be an object';
  for (const [name, given] of Object.entries(value)) {
    const fixed = new Map(Object.entries(FIXED)).get(name.toLowerCase());
    if (fixed !== undefined) return `has ${name}: ${fixed}`;
    if (!['string', 'number', 'boolean'].includes(typeof given)) {
      return `has ${name}, which is no text, number, true or false`;
    }
  }
  return undefined;
};

const RULES: Readonly<Record<keyof EmbeddedPostgresOptions, OptionRule>> = {
  dataDir: text,
  database,
  port: wholeNumber(1, 65_535),
  settings,
  timeoutMs: wholeNumber(1, MAX_MS, 'milliseconds'),
};

/** @throws ConfigurationError naming each option that is wrong */
export function checkOptions(options: unknown): void {
  const problems = optionProblems(options, RULES);
  if (problems.length === 0) return;
  throw new ConfigurationError(`startEmbeddedPostgres cannot start: ${problems.join('; ')}.`);
}
