import { ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigurationError } from '../errors.js';
import { LOCATION } from './location.js';

/** A command for the guardian, which runs one at a time. It sends `signals` in turn until the command ends. */
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
 * A small process beside this process that owns the PostgreSQL processes: see `guardian.program.js`. When this
 * process ends, even by `SIGKILL`, the guardian stops PostgreSQL and removes `directories`.
 */
export class Guardian {
  readonly #directories: string[];
  readonly #process: ChildProcess;
  readonly #ended: Promise<number | Error | null>;
  #exit: (exit: Exit) => void = () => {};

  /**
   * @param program - the file of the guardian's program
   * @param directories - are removed at the end; the guardian works in the parent of the first one
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

  /** Lets this process end by itself while the guardian still runs. */
  unref(): void {
    this.#process.unref();
    // Bun's channel has no `unref`.
    this.#process.channel?.unref?.();
  }

  /**
   * Stops the running command and removes the directories. Resolves when all is gone.
   *
   * @throws ConfigurationError if something may be left, for example because somebody killed the guardian
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
