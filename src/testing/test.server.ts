import { existsSync, statfsSync } from 'node:fs';
import { readUrl } from '../database.url.js';
import { temporaryDirectory } from '../embedded/cluster.directory.js';
import { startPostgresIn } from '../embedded/embedded.server.js';
import { chooseAccount } from '../embedded/server.account.js';
import { ConfigurationError } from '../errors.js';

/** A server that test databases are made on. */
export interface TestServer {
  /** How tests connect to it. */
  readonly url: string;
  /** How databases are made: on the server itself, where `url` is a connection pooler before it. */
  readonly adminUrl: string;
  /** Whether it is an embedded one in memory, where copying files is the fastest way to copy a database. */
  readonly inMemory: boolean;
  /** Stops it and resolves when it is gone; undefined for a server that is not ours to stop. */
  readonly stop?: () => Promise<void>;
}

const SETTINGS = { max_connections: 400, max_wal_size: '256MB' };
const MEMORY_DISK = '/dev/shm';
const ENOUGH_BYTES = 2 * 1024 ** 3;
/** What Linux says of a file system in memory. */
const TMPFS = 0x01021994;

/**
 * The server of TEST_DATABASE_URL, else an embedded one, started here. Where TEST_DATABASE_URL is a
 * connection pooler, TEST_ADMIN_URL is the server itself.
 *
 * @throws ConfigurationError when no embedded server can be started, or one of these is no URL of a server
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
    // Whatever the shell has for `psql`: an empty value would be read as none.
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

/** A new database is some 300 files: in memory where there is room, unless TMPDIR says where. */
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
