// Installs the example's own packages: run it with `npm run test:examples`, it is no part of `npm test`.
import type { ChildProcessByStdio } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase } from '../support/server.js';
import { query } from '../support/query.js';

const ROOT = join(import.meta.dirname, '../..');
const LOADER = ['--import', './test/support/typescript.mjs'];
const MAIN = [...LOADER, 'examples/frames/main.ts'];
const MINUTES = 60_000;

let temporary: string;
let installed: Ended;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

beforeAll(async () => {
  temporary = mkdtempSync(join(tmpdir(), 'frames-test-'));
  chmodSync(temporary, 0o1777);
  installed = await start('npm', ['run', 'example:frames']).result;
}, 5 * MINUTES);

/** Removes the files and ends the processes that a failed test has left. */
afterEach(() => {
  for (const pid of processesWith(temporary)) process.kill(Number(pid), 'SIGKILL');
});

afterAll(() => rmSync(temporary, { recursive: true, force: true }));

/** Starts a command in the repository, on an embedded PostgreSQL unless a database is given. */
function start(file: string, args: string[], database?: string) {
  const { DATABASE_URL: _, ...env } = process.env;
  const given = database === undefined ? {} : { DATABASE_URL: database };
  const child = spawn(file, args, {
    cwd: ROOT,
    env: { ...env, ...given, NODE_OPTIONS: '', TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { child, result: ending(child) };
}

async function ending(child: ChildProcessByStdio<null, Readable, Readable>): Promise<Ended> {
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}

/** Checks that no file is left, and no process that works on one (Linux shows these). */
async function expectNothingLeft(): Promise<void> {
  for (let tries = 0; tries < 200 && readdirSync(temporary).length > 0; tries += 1) await sleep(50);
  expect(readdirSync(temporary)).toEqual([]);
  expect(processesWith(temporary)).toEqual([]);
}

function processesWith(argument: string): string[] {
  const pids = process.platform === 'linux' ? readdirSync('/proc').filter(Number) : [];
  return pids.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(argument);
    } catch {
      return false;
    }
  });
}

it('runs by one command, on an embedded PostgreSQL', async () => {
  expect(installed).toMatchObject({ code: 0, stderr: expect.not.stringContaining('✘') });
  const lines = installed.stdout.split('\n').map((line) => line.trim());
  const claims = lines.filter((line) => line.startsWith('✔'));
  expect(claims).toEqual([
    '✔ a worker extracted 60 frames in the background: completed',
    '✔ she received this e-mail',
    '✔ behind its link is a zip file of 60 JPEGs',
    '✔ attempt 1 is the last, for another would not help: failed',
    '✔ she received this e-mail',
    '✔ each job has one notification, and its delivery is recorded',
  ]);
  expect(installed.stdout).toMatch(/Subject: The frames of clip\.mp4\n[^]*\n +60 frames: file:/);
  expect(installed.stdout).toMatch(/The reason: notes\.mp4 cannot be read as a video\.\n/);
  await expectNothingLeft();
});

it('leaves the database of DATABASE_URL as it was', async () => {
  const database = await createDatabase();
  try {
    expect(await start('node', MAIN, database.url).result).toMatchObject({ code: 0, stderr: '' });
    const tables = await query(
      database.url,
      `SELECT nspname FROM pg_namespace WHERE nspname LIKE 'frameforge%'
       UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`,
    );
    expect(tables).toEqual([]);
    await expectNothingLeft();
  } finally {
    await database.drop();
  }
});

it('ends with 1 and the reason', async () => {
  const ended = await start('node', MAIN, 'postgres://127.0.0.1:1/nowhere').result;
  expect(ended).toMatchObject({ code: 1, stderr: expect.stringMatching(/^\n✘ .*ECONNREFUSED/) });
  await expectNothingLeft();
});

it('has no type errors against the built package', () => {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '--noEmit', '-p', 'examples/frames'];
  expect(() => execFileSync('node', args, { cwd: ROOT, encoding: 'utf8' })).not.toThrow();
});

it('kills ffmpeg when the signal of its job is aborted, and removes its files', async () => {
  // The file is a pipe into which nobody writes, so ffmpeg waits.
  const video = join(temporary, 'video');
  execFileSync('mkfifo', [video]);
  const ended = start('node', [...LOADER, 'test/examples/abort.fixture.mjs', video]);
  const ffmpeg = () => processesWith(`-i\0${video}`);
  while (ffmpeg().length === 0) await sleep(10);
  ended.child.kill('SIGUSR2');
  expect(await ended.result).toEqual({ code: 0, stdout: 'AbortError', stderr: '' });
  rmSync(video);
  await expectNothingLeft();
});
