// Runs the bench from any Node that the package supports. It installs the packages of the bench if they are missing,
// and starts main.ts with the Node of bench/package-lock.json.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const TMPFS = 0x01021994;

install();
if (process.argv.includes('--smoke')) checkTypes();
const dataDir = join(directoryOnDisk(), `frameforge-bench-${randomBytes(6).toString('hex')}`);
const child = spawn(findNode(), ['--expose-gc', join(here, 'main.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, BENCH_DATA_DIR: dataDir },
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.once('exit', (code) => {
  // The database has many gigabytes. It is removed however the bench ends.
  rmSync(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 });
  process.exitCode = code ?? 1;
});

function readLock(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
}

/** The packages that a lock file installs on every platform. */
function versionsIn({ packages = {} }) {
  return Object.entries(packages)
    .filter(([path, { optional }]) => path !== '' && optional !== true)
    .map(([path, { version }]) => `${path}@${version}`)
    .join();
}

/** Runs `npm ci`, unless the packages of the lock file are installed. */
function install() {
  const wanted = versionsIn(readLock(join(here, 'package-lock.json')));
  const installed = versionsIn(readLock(join(here, 'node_modules/.package-lock.json')));
  if (wanted === installed) return;
  command('npm', ['ci', '--no-audit', '--no-fund'], here);
}

/**
 * Checks the types of the bench. The type check of the package leaves the bench out, because its packages may
 * not be installed.
 */
function checkTypes() {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  command(process.execPath, [tsc, '-p', here], here);
}

function command(file, args, cwd) {
  const { status } = spawnSync(file, args, { cwd, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${file} ${args.join(' ')} failed in ${cwd}.`);
}

/** Finds the Node in the packages of the bench. If there is none, uses the running Node if it is new enough. */
function findNode() {
  const own = join(here, `node_modules/node-${process.platform}-${process.arch}/bin/node`);
  if (existsSync(own)) return own;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return process.execPath;
  throw new Error('pg-boss and graphile-worker need Node 22.18 or newer: run the bench with that.');
}

/** Makes a directory on a disk, because in memory `fsync` would cost nothing. */
function directoryOnDisk() {
  const places = [process.env.BENCH_DIR, tmpdir(), '/var/tmp', here];
  return places.find((path) => path !== undefined && statfsSync(path).type !== TMPFS) ?? here;
}
