import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { REPOSITORY, runOk } from './consumer.project.js';

/** The package as it would be published. */
export interface PackedPackage {
  readonly tarball: string;
  /** The files in it, by path. */
  readonly files: readonly string[];
  /** A checkout in which it was built. For reading: other test files use it too. */
  readonly checkout: string;
}

const MODULES = realpathSync(join(REPOSITORY, 'node_modules'));
/**
 * The folder is outside of the repository, because package.json and node_modules above a module change how it
 * is compiled.
 */
const CACHE = join(tmpdir(), `frameforge-pack-${process.geteuid?.() ?? 0}`);
const DAY_MS = 86_400_000;
/** A lock of this age was left by a process that was killed. */
const STALE_MS = 300_000;

/** A further folder that a checkout needs to run the demonstration. */
const SUPPORT = 'test/support';
const UNWANTED = new Set([
  '.git',
  '.ci',
  'bench',
  'build',
  'coverage',
  'dist',
  'node_modules',
  'test',
]);

/**
 * Packs the package, in a copy of the repository: `dist` may be in use by others. It is packed once for
 * the sources as they are, and for this checkout's modules: test files that run at the same time, and later runs,
 * share the result.
 */
export async function packPackage(): Promise<PackedPackage> {
  const checkout = join(CACHE, digestOfSources());
  mkdirSync(CACHE, { recursive: true });
  removeOld();
  while (!existsSync(checkout)) {
    if (take(`${checkout}.lock`)) await pack(checkout);
    else await sleep(100);
  }
  const tarball = readdirSync(checkout).find((name) => name.endsWith('.tgz'));
  if (tarball === undefined) throw new Error('npm pack made no tarball.');
  const list = await runOk(checkout, ['tar', '-tzf', tarball]);
  const files = list
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''));
  return { tarball: join(checkout, tarball), files: files.toSorted(), checkout };
}

/** @param checkout - appears under this name when it is complete */
async function pack(checkout: string): Promise<void> {
  const lock = `${checkout}.lock`;
  const making = join(lock, 'checkout');
  try {
    // The process that held the lock before may have finished after the caller's look.
    if (existsSync(checkout)) return;
    for (const name of sources()) {
      cpSync(join(REPOSITORY, name), join(making, name), { recursive: true, filter: isNoModule });
    }
    symlinkSync(MODULES, join(making, 'node_modules'));
    await runOk(making, ['npm', 'pack', '--silent']);
    renameSync(making, checkout);
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

/** The examples' own packages, where they were installed, stay out. */
const isNoModule = (path: string): boolean => basename(path) !== 'node_modules';

function take(lock: string): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (ageOf(lock) > STALE_MS) rmSync(lock, { recursive: true, force: true });
    return false;
  }
}

const sources = (): string[] => [
  ...readdirSync(REPOSITORY).filter((name) => !UNWANTED.has(name)),
  SUPPORT,
];

function digestOfSources(): string {
  // The modules of another checkout may have other versions, and may be removed later.
  const hash = createHash('sha256').update(MODULES);
  const add = (path: string): void => {
    if (!isNoModule(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).toSorted()) add(join(path, name));
    } else {
      hash.update(path.slice(REPOSITORY.length)).update(readFileSync(path));
    }
  };
  for (const name of sources()) add(join(REPOSITORY, name));
  return hash.digest('hex').slice(0, 16);
}

function removeOld(): void {
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name);
    if (ageOf(path) > DAY_MS) rmSync(path, { recursive: true, force: true });
  }
}

/** The age in ms; undefined if the file has just been removed. */
const ageOf = (path: string): number =>
  Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
