import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdtempSync, readlinkSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binariesIn } from './binaries.locator.js';
import type { Account } from './server.account.js';

/** The prefix of the directories of this container. Containers may share a directory, and use the same process numbers. */
const prefix = (): string => {
  const here = createHash('sha256').update(hostname() + processNamespace());
  return `frameforge-postgres-${here.digest('hex').slice(0, 8)}-`;
};

/**
 * Creates a directory for the temporary files of a server. Its name tells which process started the server. So a
 * later start can remove the directory if the guardian was killed and could not remove it.
 */
export function createScratch(base: string, account: Account | undefined): string {
  const scratch = mkdtempSync(join(base, `${prefix()}${process.pid}-`));
  if (account) chmodSync(scratch, 0o711);
  return scratch;
}

/** Ends the servers of processes that are gone, and removes their files. */
export async function removeAbandoned(
  base: string,
  native: string,
  account: Account | undefined,
): Promise<void> {
  const start = prefix();
  for (const name of await readdir(base)) {
    const scratch = join(base, name);
    if (!name.startsWith(start) || isAlive(Number.parseInt(name.slice(start.length), 10))) continue;
    const owner = lstatSync(scratch, { throwIfNoEntry: false })?.uid;
    if (owner === undefined || owner !== (process.geteuid?.() ?? owner)) continue;
    await stopServer(scratch, native, account);
    await rm(scratch, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function stopServer(
  scratch: string,
  native: string,
  account: Account | undefined,
): Promise<void> {
  const pgdata = join(scratch, 'pgdata');
  if (!existsSync(join(pgdata, 'postmaster.pid'))) return;
  const copy = join(scratch, 'native');
  const { pgCtl } = binariesIn(existsSync(copy) ? copy : native);
  const stop = ['stop', '-D', pgdata, '-m', 'immediate', '-t', '10'];
  // The command fails if the server has ended already.
  await promisify(execFile)(pgCtl, stop, { cwd: scratch, ...account }).catch(() => {});
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function processNamespace(): string {
  return process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : '';
}
