import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigurationError } from '../errors.js';
import type { Binaries } from './binaries.locator.js';
import type { Guardian } from './guardian.js';
import { createScratch } from './scratch.directory.js';
import { type Account, canEnter, giveTo } from './server.account.js';

/** The directories of one start, and their owner. */
export interface Places {
  /** PostgreSQL's data directory. It exists only once it is complete. */
  cluster: string;
  /** Where the cluster is made. It is renamed to `cluster` at the end. */
  newCluster: string;
  /** The temporary files. Removed after the server has stopped. A temporary cluster is in it too. */
  scratch: string;
  /** Whether the cluster outlives the server. */
  persistent: boolean;
  account: Account | undefined;
}

export interface Cluster {
  pgdata: string;
  password: string;
}

export const SUPERUSER = 'postgres';
const PASSWORD_FILE = 'frameforge-password';

/**
 * Chooses the directories. For root, the directories belong to root, and only the cluster in them belongs to the
 * server's account. So a process of that account cannot replace files that root works on.
 */
export function choosePlaces(
  home: string | undefined,
  base: string,
  account: Account | undefined,
): Places {
  if (home !== undefined) openHome(home, account);
  const scratch = createScratch(base, account);
  return {
    cluster: join(home ?? scratch, 'pgdata'),
    newCluster: join(home ?? scratch, `new-${randomBytes(6).toString('hex')}`),
    scratch,
    persistent: home !== undefined,
    account,
  };
}

/**
 * Opens the cluster of these places. If there is none, `initdb` makes it. The cluster gets its name only when it
 * is complete, so an interrupted start does not disturb a later one. If two processes make it at once, one of
 * them wins, and both use its cluster.
 */
export async function openCluster(
  places: Places,
  binaries: Binaries,
  guardian: Guardian,
): Promise<Cluster> {
  if (!existsSync(places.cluster)) await createCluster(places, binaries, guardian);
  const file = join(places.cluster, PASSWORD_FILE);
  const password = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new ConfigurationError(
      `Cannot read the password of the PostgreSQL data in ${places.cluster}: ` +
        `${(error as Error).message}. Start as the owner of these files, or use another dataDir.`,
      { cause: error },
    );
  });
  return { pgdata: places.cluster, password };
}

async function createCluster(
  { cluster, newCluster, scratch, persistent, account }: Places,
  { initdb }: Binaries,
  guardian: Guardian,
): Promise<void> {
  const password = randomBytes(24).toString('base64url');
  const passwordFile = join(scratch, 'password');
  await writeFile(passwordFile, password, { mode: 0o600 });
  giveTo(account, passwordFile);
  mkdirSync(newCluster, { mode: 0o700 });
  giveTo(account, newCluster);
  const { exited } = await guardian.run({
    file: initdb,
    args: [
      `--pgdata=${newCluster}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      ...(persistent ? [] : ['--no-sync']),
    ],
    options: { cwd: scratch, env: serverEnvironment(), ...account },
    signals: ['SIGTERM'],
  });
  const { code, log } = await exited;
  await rm(passwordFile);
  if (code !== 0) {
    const isNameless = log.includes('could not look up effective user ID');
    throw new ConfigurationError(
      `initdb could not make a PostgreSQL cluster. It said:\n${log}` +
        (isNameless ? 'Run as a user who has a name in /etc/passwd, or add this user to it.' : ''),
    );
  }
  await writeFile(join(newCluster, PASSWORD_FILE), password, { mode: 0o600, flag: 'wx' });
  await rename(newCluster, cluster).catch((error: unknown) => {
    if (!existsSync(cluster)) throw error;
  });
}

/** The environment of the server: English messages, UTC, and no settings of the shell for clients. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'));
  return { ...Object.fromEntries(kept), LC_ALL: 'C', TZ: 'UTC' };
}

function openHome(home: string, account: Account | undefined): void {
  try {
    const created = mkdirSync(home, { recursive: true }) !== undefined;
    if (created && account) chmodSync(home, 0o711);
  } catch (error) {
    throw new ConfigurationError(`Cannot use ${home} as dataDir: ${(error as Error).message}.`, {
      cause: error,
    });
  }
  if (existsSync(join(home, 'PG_VERSION'))) {
    throw new ConfigurationError(
      `${home} holds PostgreSQL data of another tool, and its password is not known. ` +
        'Use another dataDir.',
    );
  }
  if (account && !canEnter(home, account)) {
    throw new ConfigurationError(
      `PostgreSQL refuses to run as root, so it runs as uid ${account.uid}, who cannot enter ${home}. ` +
        'Use a dataDir that others may enter, or run as an ordinary user.',
    );
  }
}

/** A directory for temporary files that the server's account can enter. */
export function temporaryDirectory(account: Account | undefined): string {
  const bases = account ? [tmpdir(), '/tmp', '/var/tmp'] : [tmpdir()];
  const base = bases.find((path) => !account || (existsSync(path) && canEnter(path, account)));
  if (base !== undefined) return base;
  throw new ConfigurationError(
    `PostgreSQL refuses to run as root, so it runs as uid ${account?.uid}, who cannot enter ` +
      `${bases.join(' or ')}. Set TMPDIR to a directory that it can enter.`,
  );
}
