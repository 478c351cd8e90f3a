import { spawn } from 'node:child_process';
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The facts that a process of a run reports about its database. */
export interface Told {
  readonly pid: number;
  readonly url: string;
  readonly directory: string;
  /** The pid of the server. */
  readonly postgres: number;
  /** Whether the process has run the migrations. */
  readonly migrated: boolean;
}

/** A process that this test started. */
export class Tester {
  readonly #lines: AsyncIterator<string>;
  /** Its output to stderr. */
  stderr = '';

  constructor(readonly process: ChildProcess) {
    const lines: Interface = createInterface({ input: process.stdout! });
    this.#lines = lines[Symbol.asyncIterator]();
    process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
  }

  get pid(): number {
    return Number(this.process.pid);
  }

  /** The next database that a process reports. */
  async told(): Promise<Told> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`It ended without a database: ${this.stderr}`);
    return JSON.parse(value) as Told;
  }

  /** The error of a process that has no database. */
  async complaint(): Promise<string> {
    await once(this.process, 'close');
    return this.stderr;
  }

  /** Waits for the end of the process. */
  async ended(): Promise<number | null> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      await once(this.process, 'exit');
    }
    return this.process.exitCode;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.process.kill(signal);
    await this.ended();
  }
}

/** A place for test runs, apart from the one that this test is part of. */
export class TestPlace {
  readonly directory = mkdtempSync(join(tmpdir(), 'testing-'));
  readonly #processes: ChildProcess[] = [];

  constructor() {
    chmodSync(this.directory, 0o1777);
  }

  start(
    script: 'tester' | 'runner',
    endings: string[],
    env: NodeJS.ProcessEnv = {},
    account: { uid?: number; gid?: number } = {},
  ): Tester {
    const inherited = withoutRun(process.env);
    const args = ['--import', path('../support/typescript.mjs'), path(`./${script}.process.ts`)];
    const options: SpawnOptions = {
      ...account,
      env: { ...inherited, NODE_OPTIONS: '', TMPDIR: this.directory, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    };
    const child = spawn(process.execPath, [...args, ...endings], options);
    this.#processes.push(child);
    return new Tester(child);
  }

  /** The files of this package in that place. */
  files(): string[] {
    return readdirSync(this.directory).filter((name) => name.startsWith('frameforge'));
  }

  /** Fails unless soon no file and no process of these runs is left. */
  async expectNothingLeft(): Promise<void> {
    await expectSoon(() => expect(this.files()).toEqual([]));
    await expectSoon(() => expect(this.processes()).toEqual([]));
  }

  /** The processes that have the folder of this place in their command line. */
  processes(): number[] {
    const entries = process.platform === 'linux' ? readdirSync('/proc') : [];
    return entries
      .map(Number)
      .filter((pid) => pid > 0 && commandLine(pid).includes(this.directory));
  }

  /** Ends all processes of the test, also if the test failed. */
  async remove(): Promise<void> {
    for (const child of this.#processes) child.kill('SIGKILL');
    const clean = this.expectNothingLeft();
    await clean.finally(() => rmSync(this.directory, { recursive: true, force: true }));
  }
}

/** An environment without the server of the run that this test is part of. */
export function withoutRun(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const {
    FRAMEFORGE_TEST_RUN: _run,
    TEST_DATABASE_URL: _url,
    TEST_ADMIN_URL: _admin,
    ...rest
  } = env;
  return rest;
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

export async function expectSoon(check: () => void | Promise<void>): Promise<void> {
  for (const end = Date.now() + 60_000; ; await sleep(50)) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}
