import { chownSync, existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigurationError } from '../errors.js';

/** The account under which the server runs, if it is not the account of this process. */
export interface Account {
  uid: number;
  gid: number;
}

/**
 * Chooses the account for the server; undefined for an ordinary user, whose own account runs it. PostgreSQL
 * refuses to run as root. For root, the server runs under the owner of the existing cluster. If there is no
 * cluster, it runs under `nobody` or the first other account of the system. `initdb` needs an account with a name.
 *
 * @throws ConfigurationError if this process is root and finds no account for the server
 */
export function chooseAccount(cluster: string | undefined): Account | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  if (cluster !== undefined && existsSync(cluster)) {
    const { uid, gid } = statSync(cluster);
    if (uid !== 0) return { uid, gid };
    throw new ConfigurationError(
      `${cluster} belongs to root, and PostgreSQL refuses to run as root. ` +
        'Give the directory to another user with chown -R.',
    );
  }
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name, , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
    .filter(({ uid, gid }) => uid > 0 && gid > 0);
  const account = accounts.find(({ name }) => name === 'nobody') ?? accounts[0];
  if (account) return { uid: account.uid, gid: account.gid };
  throw new ConfigurationError(
    'PostgreSQL refuses to run as root, and /etc/passwd has no other account for it. ' +
      'Run as an ordinary user, or set DATABASE_URL to an existing PostgreSQL.',
  );
}

/** Whether the account may enter the directory and all those above it. */
export function canEnter(directory: string, { uid, gid }: Account): boolean {
  const path = realpathSync(directory);
  const stat = statSync(path);
  const bit = stat.uid === uid ? 0o100 : stat.gid === gid ? 0o010 : 0o001;
  return (
    (stat.mode & bit) !== 0 && (dirname(path) === path || canEnter(dirname(path), { uid, gid }))
  );
}

/** Makes the account the owner of a file or an empty directory, if the account is not that of this process. */
export function giveTo(account: Account | undefined, path: string): void {
  if (account === undefined) return;
  try {
    chownSync(path, account.uid, account.gid);
  } catch (error) {
    throw new ConfigurationError(
      `Root may not give files to uid ${account.uid} here, and PostgreSQL refuses to run as root. ` +
        'Run as an ordinary user, or set DATABASE_URL to an existing PostgreSQL.',
      { cause: error },
    );
  }
}
