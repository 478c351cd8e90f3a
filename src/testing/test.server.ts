import { joinSharedPostgres } from '../embedded/shared.server.js';
import { ConfigurationError } from '../errors.js';

/** The server that the databases of a test run are made on. */
export interface TestServer {
  /** How tests connect to it. */
  readonly url: string;
  /** How databases are made: on the server itself, where `url` is a connection pooler before it. */
  readonly adminUrl: string;
  /** Whether it is there after the run. */
  readonly outlives: boolean;
  /** How it copies a template fastest; its own way if undefined. */
  readonly strategy?: string;
  /** Lets go of it: this process does not need it any more. */
  release(): void;
  /** Declares the run over, and resolves when what was started for it is gone. */
  end(): Promise<void>;
}

/**
 * The server of TEST_DATABASE_URL, else the embedded one that all processes of the run share. Where
 * TEST_DATABASE_URL is a connection pooler, TEST_ADMIN_URL is the server itself.
 *
 * @throws ConfigurationError when no embedded server can be started
 */
export async function findTestServer(): Promise<TestServer> {
  const url = environment('TEST_DATABASE_URL');
  if (url !== undefined) {
    const adminUrl = environment('TEST_ADMIN_URL') ?? url;
    return { url, adminUrl, outlives: true, release: () => {}, end: () => Promise.resolve() };
  }
  try {
    const server = await joinSharedPostgres();
    // Copying files is the fastest in memory, and the slowest on a disk.
    const strategy = server.inMemory ? 'FILE_COPY' : undefined;
    return { ...server, adminUrl: server.url, outlives: false, strategy };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    throw new ConfigurationError(
      `There is no server for test databases. ${error.message} ` +
        `Tests can use a server of yours instead: set TEST_DATABASE_URL.`,
      { cause: error },
    );
  }
}

function environment(name: string): string | undefined {
  const value = process.env[name];
  return value === '' ? undefined : value;
}
