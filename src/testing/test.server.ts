import { existsSync, statfsSync } from 'node:fs';
import { readUrl } from '../database.url.js';
import { temporaryDirectory } from '../embedded/cluster.directory.js';
import { startPostgresIn } from '../embedded/embedded.server.js';
import { chooseAccount } from '../embedded/server.account.js';
import { ConfigurationError } from '../errors.js';

/** A server for test databases. */
export interface TestServer {
  /** The URL for tests. */
  readonly url: string;
  /** The URL for creating databases. It names the server itself, also if `url` names a connection pooler before it. */
  readonly adminUrl: string;
  /** Whether it is an embedded server in memory. Then a copy of the files is the fastest copy of a database. */
  readonly inMemory: boolean;
  /** Stops the server and resolves when it is gone; undefined for a server that was not started here. */
  readonly stop?: () => Promise<void>;
}

const SETTINGS = { max_connections: 400, max_wal_size: '256MB' };
const MEMORY_DISK = '/dev/shm';
const ENOUGH_BYTES = 2 * 1024 ** 3;
/** The type that Linux reports for a file system in memory. */
const TMPFS = 0x01021994;

/**
 * Finds the server of TEST_DATABASE_URL. If that is not set, it starts an embedded server. If TEST_DATABASE_URL
 * names a connection pooler, TEST_ADMIN_URL must name the server itself.
 *
 * @throws ConfigurationError if no embedded server can be started, or if one of the two is no URL of a server
 */
export async function findTestServer(): Promise<TestServer> {
  const given = urlOf('TEST_DATABASE_URL');
  if (given !== undefined) {
    return { url: given, adminUrl: urlOf('TEST_ADMIN_URL') ?? given, inMemory: false };
  }
  try {
    const base = chooseBase();
    const inMemory = statfsSync(base).type === TMPFS;
    const server = await startPostgresIn(base, { settings: SETTINGS });
    // `pg` must not read PGOPTIONS of the shell. It would read them if the value were empty.
    const url = `${server.url}&options=%20`;
    return { url, adminUrl: url, inMemory, stop: () => server.stop() };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    throw new ConfigurationError(
      `There is no server for test databases. ${error.message} ` +
        `Tests can use a server of yours instead: set TEST_DATABASE_URL.`,
      { cause: error },
    );
  }
}

/** Chooses the directory. A new database has some 300 files, so it is in memory if there is room, unless TMPDIR is set. */
function chooseBase(): string {
  if (environment('TMPDIR') === undefined && existsSync(MEMORY_DISK)) {
    const { bavail, bsize } = statfsSync(MEMORY_DISK);
    if (bavail * bsize >= ENOUGH_BYTES) return MEMORY_DISK;
  }
  return temporaryDirectory(chooseAccount(undefined));
}

function urlOf(name: string): string | undefined {
  const given = environment(name);
  if (given === undefined) return undefined;
  const problems: string[] = [];
  const read = readUrl(name, given, problems);
  if (read !== undefined && problems.length === 0) return read.url;
  throw new ConfigurationError(`There is no server for test databases: ${problems.join('; ')}.`);
}

function environment(name: string): string | undefined {
  const value = process.env[name];
  return value === '' ? undefined : value;
}
