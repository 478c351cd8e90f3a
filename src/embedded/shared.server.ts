import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, statfsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ConfigurationError } from '../errors.js';
import { binariesIn, findNativeFolder } from './binaries.locator.js';
import { temporaryDirectory } from './cluster.directory.js';
import { launchPostgres } from './embedded.server.js';
import { LOCK } from './guardian.process.js';
import { type Account, chooseAccount } from './server.account.js';

/** A server that several processes use at once, as this process holds it. */
export interface SharedPostgres {
  readonly url: string;
  /** Whether its files are in memory. */
  readonly inMemory: boolean;
  /** Lets go of it: it goes on while others hold it, and for a moment more if the run goes on. */
  release(): void;
  /** Declares the run over: resolves when the server is gone, or left to other runs. */
  end(): Promise<void>;
}

const SETTINGS = { max_connections: 400, max_wal_size: '256MB' };
const MEMORY_DISK = '/dev/shm';
const ENOUGH_BYTES = 2 * 1024 ** 3;
/** The longest path of a socket that every system takes. */
const LONGEST_PATH = 103;
const PATIENCE_MS = 60_000;
const GONE = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE']);

/**
 * The server that all processes of a test run share: started by whichever comes first, ended by its
 * guardian after the last, however they end. Runs at the same time share it too. What is left of a
 * run whose guardian was killed as well is removed by the next.
 *
 * @throws ConfigurationError when it cannot be started: see `startEmbeddedPostgres`
 */
export async function joinSharedPostgres(): Promise<SharedPostgres> {
  const native = findNativeFolder();
  const account = chooseAccount(undefined);
  const base = chooseBase(account);
  const home = join(base, `frameforge-testing-${keyOf(native)}`);
  const socket = socketIn(home);
  const lock = join(home, LOCK);
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const joined = await tryJoin(socket, base === MEMORY_DISK);
    if (joined !== undefined) return joined;
    openHome(home, account);
    if (await take(lock)) {
      try {
        // Another process may have started it just before.
        const started = await tryJoin(socket, base === MEMORY_DISK);
        if (started !== undefined) return started;
        await removeStale(home, native, account);
        const { url, guardian } = await launchPostgres({ settings: SETTINGS }, home);
        await guardian.share({ socket, url, runner: runner() });
      } finally {
        await rm(lock, { force: true });
      }
    } else if (performance.now() > deadline) {
      throw new ConfigurationError(
        `Another process has been starting the test server for ${PATIENCE_MS} ms. ` +
          `If there is none, remove ${lock}.`,
      );
    } else {
      await sleep(20);
    }
  }
}

/**
 * The process whose end is the end of the run: of a worker, the test runner that started it. Workers
 * come and go while the runner lives, in watch mode for hours.
 */
function runner(): number {
  // Not by process.send, which Jest defines for tests in its own process too.
  const isWorker = process.connected === true || process.env['NODE_TEST_CONTEXT'] !== undefined;
  return isWorker ? process.ppid : process.pid;
}

/** Tells the guardian that this process needs the server. Undefined if there is none, or no longer. */
async function tryJoin(path: string, inMemory: boolean): Promise<SharedPostgres | undefined> {
  const socket = connect(path);
  socket.setEncoding('utf8');
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const url = await greet(socket);
  if (url === undefined) return undefined;
  socket.unref();
  return {
    url,
    inMemory,
    release: () => void socket.destroy(),
    end: () => {
      socket.ref().end('over\n');
      return closed;
    },
  };
}

function greet(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let answer = '';
    socket.on('data', (text: string) => {
      answer += text;
      if (answer.endsWith('\n')) resolve(answer.trim());
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (GONE.has(error.code ?? '')) resolve(undefined);
      else reject(error);
    });
    socket.on('close', () => resolve(undefined));
    socket.write(`${runner()}\n`);
  });
}

/** In memory where there is room: a new database is some 300 files. TMPDIR decides where it is set. */
function chooseBase(account: Account | undefined): string {
  if (process.env['TMPDIR'] === undefined && existsSync(MEMORY_DISK)) {
    // The size, not what is free now: all processes of a run must come to the same answer.
    const { blocks, bsize } = statfsSync(MEMORY_DISK);
    if (blocks * bsize >= ENOUGH_BYTES) return MEMORY_DISK;
  }
  return temporaryDirectory(account);
}

/** One server for each user and installation, on each machine or container. */
function keyOf(native: string): string {
  const hash = createHash('sha256').update(JSON.stringify([hostname(), native, SETTINGS]));
  return `${process.geteuid?.() ?? 0}-${hash.digest('hex').slice(0, 12)}`;
}

function socketIn(home: string): string {
  if (process.platform === 'win32') return `\\\\.\\pipe\\${basename(home)}`;
  const path = join(home, 'socket');
  if (Buffer.byteLength(path) <= LONGEST_PATH) return path;
  throw new ConfigurationError(
    `${path} is too long for the path of a socket. Set TMPDIR to a directory with a shorter name.`,
  );
}

/** The directory of the server and of all that belongs to it. Others may pass through, no more. */
function openHome(home: string, account: Account | undefined): void {
  try {
    mkdirSync(home, { recursive: true });
    const stat = lstatSync(home);
    if (stat.isDirectory() && stat.uid === (process.geteuid?.() ?? stat.uid)) {
      return chmodSync(home, account ? 0o711 : 0o700);
    }
  } catch (error) {
    // The guardian of the server before has just removed it: the next look will make it again.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  throw new ConfigurationError(`${home} is not a directory of this user: remove it.`);
}

/** Takes the lock, unless another process has it. One that died with it is no obstacle. */
async function take(lock: string): Promise<boolean> {
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    if (code !== 'EEXIST') throw error;
  }
  const holder = Number(await readFile(lock, 'utf8').catch(() => ''));
  if (holder > 0 && !isAlive(holder)) await rm(lock, { force: true });
  return false;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** What is there without a guardian that answers is of nobody. */
async function removeStale(
  home: string,
  native: string,
  account: Account | undefined,
): Promise<void> {
  await rm(join(home, 'socket'), { force: true });
  for (const name of readdirSync(home).filter((entry) => entry.startsWith('frameforge-'))) {
    const scratch = join(home, name);
    const pgdata = join(scratch, 'pgdata');
    if (existsSync(join(pgdata, 'postmaster.pid'))) {
      const copy = join(scratch, 'native');
      const { pgCtl } = binariesIn(existsSync(copy) ? copy : native);
      const stop = ['stop', '-D', pgdata, '-m', 'immediate', '-t', '10'];
      // It fails if the server has died too.
      await promisify(execFile)(pgCtl, stop, { cwd: scratch, ...account }).catch(() => {});
    }
    await rm(scratch, { recursive: true, force: true, maxRetries: 5 });
  }
}
