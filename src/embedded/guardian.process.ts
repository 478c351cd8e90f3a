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

/** How a server is left to all processes that connect to a local socket, as long as any needs it. */
export interface Sharing {
  /** The path of the socket. */
  socket: string;
  /** What each process that connects is told: the server's address. */
  url: string;
  /** The process that is told when its run is over: the runner of the process that started all this. */
  runner: number;
}

/** The file in a shared server's home that holds the pid of the process which is starting it. */
export const LOCK = 'starting';

const PATIENCE_MS = 15_000;
/** How long a shared server waits for the next process of a run, and how often it looks, in ms. */
const [LINGER_MS, LOOK_MS] = [10_000, 250];

/**
 * The guardian's program, plain JavaScript run by `node -e`: it works the same from sources, from
 * `dist` and from a bundle. It runs in a session of its own, so that a Ctrl-C in the terminal does
 * not reach it, and under a title of its own, so that `killall node` does not either. However the
 * process that started it ends, the channel between the two closes: that is the signal to stop.
 */
const PROGRAM = `
const { spawn } = require('node:child_process');
const { readFileSync, rmdirSync, rmSync } = require('node:fs');
const { createServer } = require('node:net');
const { join } = require('node:path');
const { createInterface } = require('node:readline');

process.title = 'frameforge-postgres';
const { directories, pgCtl, home } = JSON.parse(process.argv[1]);
const parent = String(process.ppid);
let child;
let signals = [];
let log = '';
let stopping = false;
let shared;

process.on('disconnect', stop);
process.on('SIGINT', stop);
process.on('SIGTERM', stop);
process.on('SIGHUP', stop);
process.on('uncaughtException', (error) => {
  tell({ exit: { code: null, log: log + error.stack } }, stop);
});
process.on('message', (message) => {
  if (message === 'stop') stop();
  else if (stopping) return;
  else if (message.share) share(message.share);
  else run(message);
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
    tell({ exit: { code, log } }, () => {
      if (stopping) finish();
      else if (shared) stop();
    });
  });
  tell({ pid: child.pid });
}

/**
 * A process that connects says who its runner is, and is told the url. It needs the server until it
 * disconnects. The server is needed while such a process is there, and for a moment after it, when
 * the next one may come. It is not needed any more when all runners are gone, or said so.
 */
function share({ socket, url, runner }) {
  const runners = new Set([runner]);
  const holders = new Set();
  const sockets = new Set();
  let heldAt = Date.now();
  const look = () => {
    for (const pid of runners) if (!isAlive(pid)) runners.delete(pid);
    const held = holders.size > 0 || Date.now() - heldAt < ${LINGER_MS};
    if (runners.size === 0 || !held) stop();
  };
  const letGo = (holder) => {
    if (holders.delete(holder)) heldAt = Date.now();
    look();
  };
  const listener = createServer({ allowHalfOpen: true }, (holder) => {
    if (stopping) return holder.destroy();
    let pid;
    sockets.add(holder);
    holder.on('error', () => {});
    holder.on('close', () => { sockets.delete(holder); letGo(holder); });
    holder.on('end', () => { letGo(holder); if (!stopping) holder.end(); });
    createInterface({ input: holder }).on('line', (line) => {
      if (line === 'over') return runners.delete(pid);
      pid = Number(line);
      runners.add(pid);
      holders.add(holder);
      holder.write(url + '\\n');
    });
  });
  listener.listen(socket, () => {
    process.off('disconnect', stop);
    setInterval(look, ${LOOK_MS}).unref();
    shared = { listener, sockets };
    tell({ pid: process.pid });
  });
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function stop() {
  if (stopping) return;
  stopping = true;
  shared?.listener.close();
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
  if (home) removeHome();
  for (const socket of shared?.sockets ?? []) socket.destroy();
  if (process.connected) process.disconnect();
}

/** Unless whoever starts the next server is there already. */
function removeHome() {
  const lock = join(home, '${LOCK}');
  try { if (readFileSync(lock, 'utf8') === parent) rmSync(lock); } catch {}
  try { rmdirSync(home); } catch {}
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

  /**
   * @param directories what to remove when all is over; the first one's parent is its cwd
   * @param home the directory around them, removed too if nothing else is in it
   */
  constructor(directories: [string, ...string[]], pgCtl: string, home?: string) {
    this.#directories = directories;
    const { NODE_OPTIONS: _ours, ...env } = process.env;
    this.#process = spawn(
      process.execPath,
      ['-e', PROGRAM, '--', JSON.stringify({ directories, pgCtl, home })],
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

  /**
   * Leaves the server to all processes that connect to a socket: from now on it ends with the last of
   * them, and no longer with ours.
   */
  async share(sharing: Sharing): Promise<void> {
    const failed = new Promise<Exit>((resolve) => {
      this.#exit = resolve;
    });
    this.#process.ref();
    this.#process.channel?.ref();
    const listening = once(this.#process, 'message').then(() => undefined);
    this.#process.send({ share: sharing });
    const exit = await Promise.race([failed, listening]);
    if (exit !== undefined) {
      throw new ConfigurationError(
        `The embedded PostgreSQL could not be shared at ${sharing.socket}: ${exit.log}`,
      );
    }
    this.unref();
    this.#process.disconnect();
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
