import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, mkdtempSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseAccount, giveTo } from '../../src/embedded/server.account.js';

/**
 * Ends all processes that work inside of a directory when its standard input ends. It asks each to quit first, so that
 * a server removes its shared memory. Processes that do not quit are killed.
 */
const CLEANER = `
  trap '' INT TERM HUP
  ulimit -c 0
  inside() { find /proc/[0-9]*/cwd -maxdepth 0 -lname "$0*" 2>/dev/null | cut -d/ -f3; }
  end() { pids=$(inside); [ -n "$pids" ] && kill -s "$1" $pids 2>/dev/null; }
  read -r _
  end CONT
  end QUIT
  for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.3; [ -z "$(inside)" ] && break; done
  while end KILL; do sleep 0.1; done
  [ -n "$1" ] || rm -rf "$0"
`;

/**
 * A temporary directory, and all processes that work inside of it. They run under an ordinary account. They end when
 * this process ends, in whatever way.
 */
export class Processes {
  private constructor(
    readonly directory: string,
    private readonly cleaner: ChildProcess,
  ) {}

  /** @param keep - whether the directory stays at the end */
  static create(keep: boolean): Processes {
    const account = chooseAccount(undefined);
    const directory = mkdtempSync(join(tmpdir(), 'frameforge-failover-'));
    chmodSync(directory, 0o700);
    giveTo(account, directory);
    const cleaner = spawn('sh', ['-c', CLEANER, directory, keep ? 'keep' : ''], {
      stdio: ['pipe', 'ignore', 'ignore'],
      cwd: '/',
      detached: true,
      ...account,
    });
    cleaner.unref();
    return new Processes(directory, cleaner);
  }

  /** Starts a program in a directory. Its output goes to the file `log` there. */
  start(directory: string, program: string, args: readonly string[]): void {
    const log = openSync(join(directory, 'log'), 'a');
    const child = spawn(program, args, {
      stdio: ['ignore', log, log],
      cwd: directory,
      env: { PATH: process.env['PATH'], HOME: directory, LC_ALL: 'C' },
      ...chooseAccount(undefined),
    });
    closeSync(log);
    child.unref();
  }

  /** Sends a signal to all processes that work inside of a directory. */
  signal(directory: string, signal: NodeJS.Signals): void {
    for (const pid of processesIn(directory)) {
      try {
        process.kill(pid, signal);
      } catch (error) {
        // The process has ended meanwhile.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  }

  /** Ends all processes. */
  async end(): Promise<void> {
    this.cleaner.ref();
    const ended = once(this.cleaner, 'exit');
    this.cleaner.stdin?.end();
    await ended;
  }
}

function processesIn(directory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${directory}/`);
      } catch {
        // The process has ended, or belongs to another account.
        return false;
      }
    })
    .map(Number);
}

/**
 * Finds free ports below the range for outgoing connections. So the port of a server that is down stays free until
 * the server comes back.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
