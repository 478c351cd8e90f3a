import { ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigurationError } from '../errors.js';
import { LOCATION } from './location.js';

/** What the guardian runs, one at a time. `signals` end it, each when the one before did not help. */
export interface Command {
  file: string;
  args: string[];
  options: { cwd: string; env: NodeJS.ProcessEnv; uid?: number; gid?: number };
  signals: NodeJS.Signals[];
}

/** How a command ended, with the last 8 KiB of what it printed. */
export interface Exit {
  code: number | null;
  log: string;
}

/**
 * A small process beside ours that owns the PostgreSQL processes: see `guardian.program.js`. When ours
 * ends, in whatever way (`SIGKILL` included), it stops them and removes `directories`.
 */
export class Guardian {
  readonly #directories: string[];
  readonly #process: ChildProcess;
  readonly #ended: Promise<number | Error | null>;
  #exit: (exit: Exit) => void = () => {};

  /**
   * @param program - the file that it runs
   * @param directories - what to remove when all is over; the first one's parent is its cwd
   */
  constructor(program: string, directories: [string, ...string[]], pgCtl: string) {
    this.#directories = directories;
    const { NODE_OPTIONS: _ours, ...env } = process.env;
    this.#process = spawn(process.execPath, [program, JSON.stringify({ directories, pgCtl })], {
      cwd: dirname(directories[0]),
      env,
      detached: true,
      windowsHide: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    this.#process.on('message', (message: { exit?: Exit }) => {
      if (message.exit) this.#exit(message.exit);
    });
    this.#ended = new Promise((resolve) => {
      this.#process.on('exit', resolve).on('error', resolve);
    });
    void this.#ended.then(() => this.#exit({ code: null, log: 'Its guardian process ended.' }));
  }

  /** Starts a command. `exited` settles when it has ended and never rejects. */
  async run(command: Command): Promise<{ pid: number | undefined; exited: Promise<Exit> }> {
    const exited = new Promise<Exit>((resolve) => {
      this.#exit = resolve;
    });
    const started = once(this.#process, 'message') as Promise<[{ pid?: number }]>;
    this.#process.send(command);
    const [{ pid }] = await Promise.race([started, exited.then((): [{ pid?: number }] => [{}])]);
    return { pid, exited };
  }

  /** Lets our process end by itself while the guardian is still there. */
  unref(): void {
    this.#process.unref();
    // Bun has a channel without it.
    this.#process.channel?.unref?.();
  }

  /**
   * Stops what is running and removes the directories. Resolves when all of it is gone.
   *
   * @throws ConfigurationError when something may be left, as after someone killed the guardian.
   */
  async stop(): Promise<void> {
    this.#process.ref();
    if (this.#process.connected) this.#process.send('stop', () => {});
    const code = await this.#ended;
    if (code === 0) return;
    throw new ConfigurationError(
      'The guardian of the embedded PostgreSQL was killed or could not clean up. A server may ' +
        `still run in ${this.#directories.join(' or ')}: end it, and remove the directory.`,
      { cause: code },
    );
  }
}

/** @throws ConfigurationError when the guardian's program is not there, because this code was bundled */
export function findProgram(): string {
  const file = LOCATION && fileURLToPath(new URL('./guardian.program.js', LOCATION));
  if (file !== undefined && existsSync(file)) return file;
  throw new ConfigurationError(
    'The embedded PostgreSQL needs the installed files of "@frameforge/shared-types", ' +
      'but this code runs from a bundle. Exclude the package from the bundle (mark it as external).',
  );
}
