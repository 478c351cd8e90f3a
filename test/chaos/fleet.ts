import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const fileOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** How many processes are started in advance, because a start takes longer than a kill. */
const SPARES = 3;

/** Worker processes. A killed process is replaced by a new one. */
export class Fleet {
  /** When each killed process was killed, in ms, by its pid. */
  readonly kills = new Map<number, number>();
  /** Processes that ended although the test did not end them. */
  readonly accidents: string[] = [];
  private readonly processes = new Set<ChildProcess>();
  private readonly spares: ChildProcess[] = [];
  private readonly ready = new Set<ChildProcess>();
  private readonly ends: Promise<void>[] = [];
  /** How many workers are missing. */
  private missing = 0;
  private stopping = false;

  constructor(private readonly url: string) {}

  start(count: number): void {
    this.missing = count;
    for (let i = 0; i < count + SPARES; i += 1) this.load();
  }

  /** How many workers are at work. */
  get readyCount(): number {
    return this.ready.size;
  }

  /** Kills one of the workers at work. */
  killOne(random: () => number): void {
    const candidates = [...this.ready];
    const victim = candidates[Math.floor(random() * candidates.length)];
    if (victim?.pid === undefined) return;
    this.ready.delete(victim);
    this.kills.set(victim.pid, Date.now());
    victim.kill('SIGKILL');
    this.missing += 1;
    this.fill();
    this.load();
  }

  /** Ends all workers in an orderly way. */
  async stop(): Promise<void> {
    this.stopping = true;
    for (const process of this.processes) process.kill('SIGTERM');
    await Promise.all(this.ends);
  }

  private load(): void {
    const child = fork(fileOf('./worker.ts'), {
      execArgv: ['--import', fileOf('../support/typescript.mjs')],
      env: { ...process.env, NODE_OPTIONS: '', CHAOS_URL: this.url },
    });
    this.processes.add(child);
    child.on('message', (message) => {
      if (message === 'ready') this.ready.add(child);
      else this.spares.push(child);
      this.fill();
    });
    const end = new Promise<void>((resolve) => {
      child.on('exit', (code, signal) => {
        this.processes.delete(child);
        this.ready.delete(child);
        this.check(child, code, signal);
        resolve();
      });
    });
    this.ends.push(end);
  }

  /** Replaces missing workers by processes that are ready. */
  private fill(): void {
    while (this.missing > 0 && this.spares.length > 0) {
      this.spares.shift()?.send('go');
      this.missing -= 1;
    }
  }

  private check({ pid = 0 }: ChildProcess, code: number | null, signal: string | null): void {
    const expected = this.kills.has(pid) ? 'SIGKILL' : 'SIGTERM';
    if (signal === expected && (expected === 'SIGKILL' || this.stopping)) return;
    this.accidents.push(`worker ${pid} ended with code ${code}, signal ${signal}`);
  }
}
