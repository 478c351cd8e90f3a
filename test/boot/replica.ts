import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { HOST_MIGRATIONS } from './booter.migrations.js';

/** The application that a replica boots. */
export interface Order {
  /** FrameForgeDatabaseModule, or TypeOrmModule with `migrationsRun: true`. */
  readonly kind: 'ours' | 'plain';
  readonly url: string;
  readonly poolSize?: number;
  readonly preparedStatements?: boolean;
  /** The migrations that the application adds. */
  readonly migrations?: keyof typeof HOST_MIGRATIONS;
}

export type Outcome =
  { readonly booted: true } | { readonly booted: false; readonly reason: string };

type Told = { ready: true } | { step: number } | Outcome;

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A process that boots when its parent asks for it: see booter.process.ts. */
export class Replica {
  private constructor(private readonly child: ChildProcess) {}

  /** Starts a process. It then waits for orders. */
  static async start(): Promise<Replica> {
    const loader = ['--import', file('../support/typescript.mjs')];
    const child = spawn(process.execPath, [...loader, file('./booter.process.ts')], {
      // TypeORM prints each failed migration. With plain TypeORM, failures are expected here.
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const replica = new Replica(child);
    await replica.told((message) => ('ready' in message ? message : undefined));
    return replica;
  }

  /**
   * Boots an application and closes it.
   *
   * @param onStep - is called when the boot begins, as step 0, and at each pause of slow migrations
   */
  boot(order: Order, onStep: (step: number) => void = () => {}): Promise<Outcome> {
    const outcome = this.told((message) => {
      if ('step' in message) onStep(message.step);
      return 'booted' in message ? message : undefined;
    }).catch((error: Error): Outcome => ({ booted: false, reason: error.message }));
    this.child.send(order);
    return outcome;
  }

  /** Kills the process by SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    if (this.hasEnded()) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    if (this.hasEnded()) return;
    const ended = once(this.child, 'exit');
    this.child.disconnect();
    await ended;
  }

  private hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Waits for the first message that fits; fails if the process ends before it. */
  private told<T>(find: (message: Told) => T | undefined): Promise<T> {
    const { child } = this;
    return new Promise((resolve, reject) => {
      const done = (): void => {
        child.off('message', onMessage);
        child.off('exit', onExit);
      };
      const onMessage = (message: Told): void => {
        const found = find(message);
        if (found === undefined) return;
        done();
        resolve(found);
      };
      const onExit = (code: number | null, signal: string | null): void => {
        done();
        reject(new Error(`The replica ended with ${signal ?? `code ${code}`}`));
      };
      child.on('message', onMessage);
      child.on('exit', onExit);
    });
  }
}

/** Starts many processes. They then wait for orders. */
export const startReplicas = (count: number): Promise<Replica[]> =>
  Promise.all(Array.from({ length: count }, () => Replica.start()));

/** Lets all of them boot at one instant. */
export const bootTogether = (replicas: readonly Replica[], order: Order): Promise<Outcome[]> =>
  Promise.all(replicas.map((replica) => replica.boot(order)));

/** Why boots failed. */
export const reasonsOf = (outcomes: readonly Outcome[]): string[] =>
  outcomes.flatMap((outcome) => (outcome.booted ? [] : [outcome.reason]));
