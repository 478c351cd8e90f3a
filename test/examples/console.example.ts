// The console's demonstration, as `npm run demo:console` starts it: run it with `npm run test:examples`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { until } from '../support/until.js';

const ROOT = join(import.meta.dirname, '../..');
const MINUTES = 60_000;

/** The parts of the overview that this test reads. */
interface Overview {
  readonly jobs: { readonly counts: Readonly<Record<string, { readonly count: number }>> };
  readonly workers: readonly { readonly workerId: string }[];
}
/** What a search of jobs tells. */
interface Found {
  readonly found: readonly { readonly status: string }[];
}

async function read<T>(url: string): Promise<T> {
  const answer = await fetch(url);
  expect({ url, status: answer.status }).toEqual({ url, status: 200 });
  return ((await answer.json()) as { data: T }).data;
}

/** The processes that have a text in their command line. */
const processesWith = (text: string): string[] =>
  readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(text);
    } catch {
      // The process has ended meanwhile.
      return false;
    }
  });

it(
  'shows a day of work and a worker at its address, and leaves nothing behind after Ctrl+C',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'console-demo-'));
    chmodSync(folder, 0o1777);
    const { DATABASE_URL: _, ...env } = process.env;
    const demo = spawn('npm', ['run', 'demo:console'], {
      cwd: ROOT,
      env: { ...env, NODE_OPTIONS: '', TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'inherit'],
      // The demonstration has its own process group, because a terminal sends Ctrl+C to a group.
      detached: true,
    });
    const ended = once(demo, 'exit');
    const signal = (name: NodeJS.Signals) => process.kill(-demo.pid!, name);
    try {
      const lines = createInterface({ input: demo.stdout });
      const url = await new Promise<string>((resolve, reject) => {
        lines.on('line', (line) => {
          const [, address] = /^The console is at (http:\S+)/.exec(line) ?? [];
          if (address !== undefined) resolve(address);
        });
        lines.on('close', () => reject(new Error('It ended without an address.')));
      });
      const page = await fetch(url);
      expect(await page.text()).toContain('<base href="frameforge/">');
      const { jobs, workers } = await read<Overview>(`${url}/api/overview`);
      expect(jobs.counts['completed']?.count).toBeGreaterThan(4_000);
      expect(workers.length).toBeGreaterThan(0);
      // The worker processes the videos that are uploaded.
      await until(async () => {
        const { found } = await read<Found>(`${url}/api/jobs?text=upload-`);
        return found.some(({ status }) => status === 'completed');
      });
      expect(processesWith(folder)).not.toEqual([]);
      signal('SIGINT');
      await ended;
      // The files are removed when the server has ended, by a process whose command line does not show the folder.
      await until(
        async () => processesWith(folder).length === 0 && readdirSync(folder).length === 0,
      );
      await expect(fetch(url)).rejects.toThrow();
    } finally {
      if (demo.exitCode === null && demo.signalCode === null) {
        signal('SIGTERM');
        await ended;
      }
      rmSync(folder, { recursive: true, force: true });
    }
  },
  5 * MINUTES,
);
