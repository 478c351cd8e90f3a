import { ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { ConfigurationError } from '../errors.js';

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

const PATIENCE_MS = 15_000;

/**
 * The guardian's program, plain JavaScript run by `node -e`: it works the same from sources, from
 * `dist` and from a bundle. It runs in a session of its own, so that a Ctrl-C in the terminal does
 * not reach it, and under a title of its own, so that `killall node` does not either. However the
 * process that started it ends, the channel between the two closes: that is the signal to stop.
 */
const PROGRAM = `
const { spawn } = require('node:child_process');
const { rmSync } = require('node:fs');

process.title = 'frameforge-postgres';
const { directories, pgCtl } = JSON.parse(process.argv[1]);
let child;
let signals = [];
let log = '';
let stopping = false;

process.on('disconnect', stop);
process.on('SIGINT', stop);
process.on('SIGTERM', stop);
process.on('SIGHUP', stop);
process.on('uncaughtException', (error) => {
  tell({ exit: { code: null, log: log + error.stack } }, stop);
});
process.on('message', (message) => {
  if (message === 'stop') stop();
  else if (!stopping) run(message);
});

function run(command) {
  log = '';
  signals = command.signals;
  child = spawn(command.file, command.args, { ...command.options, stdio: ['ignore', 'pipe', 'pipe'] });
  const keep = (text) => { log = (log + text).slice(-8192); };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.on('error', (error) => keep(error.message));
  child.on('close', (code) => {
    child = undefined;
    tell({ exit: { code, log } }, () => { if (stopping) finish(); });
  });
  tell({ pid: child.pid });
}

function stop() {
  if (stopping) return;
  stopping = true;
  if (child) signalChild();
  else finish();
}

function signalChild() {
  const signal = signals.shift() ?? 'SIGKILL';
  if (process.platform === 'win32') spawn(pgCtl, ['kill', signal.slice(3), String(child.pid)]);
  else child.kill(signal);
  setTimeout(() => { if (child) signalChild(); }, ${PATIENCE_MS}).unref();
}

function finish() {
  try {
    for (const path of directories) rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  } catch {
    process.exitCode = 1;
  }
  if (process.connected) process.disconnect();
}

function tell(message, done = () => {}) {
  if (process.connected) process.send(message, done);
  else done();
}
`;

/**
 * A small process beside ours that owns the PostgreSQL processes. When ours ends, in whatever way
 * (`SIGKILL` included), it stops them and removes `directories`.
 */
export class Guardian {
  readonly #directories: string[];
  readonly #process: ChildProcess;
  readonly #ended: Promise<number | Error | null>;
  #exit: (exit: Exit) => void = () => {};

  /** @param directories what to remove when all is over; the first one's parent is its cwd. */
  constructor(directories: [string, ...string[]], pgCtl: string) {
    this.#directories = directories;
    const { NODE_OPTIONS: _ours, ...env } = process.env;
    this.#process = spawn(
      process.execPath,
      ['-e', PROGRAM, '--', JSON.stringify({ directories, pgCtl })],
      {
        cwd: dirname(directories[0]),
        env,
        detached: true,
        windowsHide: true,
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      },
    );
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
    this.#process.channel?.unref();
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
      'The guardian of the embedded PostgreSQL was killed or could not clean up. End the server ' +
        `that may still run in ${this.#directories.join(' or ')}, and remove what is left there.`,
      { cause: code },
    );
  }
}
