import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { canEnter, chooseAccount } from '../../src/embedded/server.account.js';

const NOBODY = { uid: 65534, gid: 65534 };
const isRoot = process.geteuid?.() === 0;
const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

let temporary: string;
let processes: ChildProcess[] = [];

beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'guardian-test-'));
  chmodSync(temporary, 0o1777);
});

afterEach(async () => {
  for (const child of processes) child.kill('SIGKILL');
  processes = [];
  await expectNothingLeft();
  rmSync(temporary, { recursive: true, force: true });
});

function run(ending: string, account = {}): ChildProcess {
  const child = spawn(
    process.execPath,
    ['--import', path('../support/typescript.mjs'), path('./start.fixture.ts'), ending],
    {
      ...account,
      env: { ...process.env, NODE_OPTIONS: '', TMPDIR: temporary },
      stdio: ['ignore', 'pipe', ending === 'throw' ? 'ignore' : 'inherit'],
    },
  );
  processes.push(child);
  return child;
}

/** Reads the message in which the process describes its server. */
async function started(child: ChildProcess): Promise<{ url: string; pid: number }> {
  const lines = createInterface({ input: child.stdout! });
  const [line] = (await Promise.race([once(lines, 'line'), once(lines, 'close')])) as [string?];
  if (line === undefined) throw new Error('The process ended without a server.');
  return JSON.parse(line) as { url: string; pid: number };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The processes that have this directory in their command line (where the system shows it). */
function processesAt(directory: string): string[] {
  const pids = process.platform === 'linux' ? readdirSync('/proc').filter(Number) : [];
  return pids.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory);
    } catch {
      return false;
    }
  });
}

async function expectSoon(check: () => void): Promise<void> {
  for (const end = Date.now() + 20_000; ; await sleep(50)) {
    try {
      return check();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

async function expectNothingLeft(...pids: number[]): Promise<void> {
  await expectSoon(() => expect(readdirSync(temporary)).toEqual([]));
  expect(processesAt(temporary)).toEqual([]);
  expect(pids.filter(isAlive)).toEqual([]);
}

describe('nothing is left of a server', () => {
  it('after SIGKILL, SIGTERM and SIGINT, of processes that started at the same time', async () => {
    const children = [run('wait'), run('wait'), run('wait')] as const;
    const all = await Promise.all(children.map(started));
    expect(new Set(all.map(({ url }) => new URL(url).port)).size).toBe(3);
    expect(all.map(({ pid }) => isAlive(pid))).toEqual([true, true, true]);
    expect(readdirSync(temporary)).toHaveLength(3);
    const exits = Promise.all(children.map((child) => once(child, 'exit')));
    children[0].kill('SIGKILL');
    children[1].kill('SIGTERM');
    children[2].kill('SIGINT');
    await exits;
    await expectNothingLeft(...all.map(({ pid }) => pid));
  });

  it('after SIGKILL while it starts', async () => {
    const child = run('wait');
    await expectSoon(() => expect(processesAt(temporary).length).toBeGreaterThan(0));
    child.kill('SIGKILL');
    await expectNothingLeft();
  });

  it.each([
    ['the program ended without stop()', 'end', 0],
    ['process.exit()', 'exit', 7],
    ['an uncaught exception', 'throw', 1],
  ])('after %s', async (_title, ending, expected) => {
    const child = run(ending);
    const exit = once(child, 'exit');
    const { pid } = await started(child);
    expect(await exit).toEqual([expected, null]);
    await expectNothingLeft(pid);
  });
});

it('the error says that the guardian is missing where this code was bundled', async () => {
  // The bundle is beside the packages that it needs, but the program of the guardian is not there.
  const bundle = mkdtempSync(path('../../node_modules/.bundle-'));
  try {
    cpSync(path('../../src'), join(bundle, 'src'), { recursive: true });
    rmSync(join(bundle, 'src/embedded/guardian.program.js'));
    const module = pathToFileURL(join(bundle, 'src/embedded/index.ts')).href;
    const program = `import('${module}').then((it) => it.startEmbeddedPostgres())`;
    const running = promisify(execFile)(
      process.execPath,
      ['--import', path('../support/typescript.mjs'), '-e', program],
      { env: { ...process.env, NODE_OPTIONS: '', TMPDIR: temporary } },
    );
    await expect(running).rejects.toThrow(/runs from a bundle. Exclude the package/);
  } finally {
    rmSync(bundle, { recursive: true });
  }
});

describe('the account of the server', () => {
  const mayRun =
    isRoot && [process.execPath, path('.')].every((it) => canEnter(join(it, '..'), NOBODY));

  it('is not root', async () => {
    const { pid } = await started(run('wait'));
    if (process.platform === 'linux') {
      const uid = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      expect(Number(uid)).toBe(chooseAccount(undefined)?.uid ?? process.geteuid?.());
      expect(Number(uid)).not.toBe(0);
    }
  });

  (mayRun ? it : it.skip)('is his own for an ordinary user (tried by root)', async () => {
    const child = run('wait', NOBODY);
    const { pid } = await started(child);
    expect(isAlive(pid)).toBe(true);
    child.kill('SIGKILL');
    await expectNothingLeft(pid);
  });
});
