// @ts-check
// The guardian's program: a process that owns PostgreSQL on behalf of the one that started it. It is
// plain JavaScript, so that it runs the same from the sources and from the build.
//
// It runs in a session of its own, so that a Ctrl-C in the terminal does not reach it, and under a
// title of its own, so that `killall node` does not either. However the process that started it ends,
// the channel between the two closes: that is the signal to stop.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';

/** @typedef {import('./guardian.js').Command} Command */

/** How long a signal may take before the next one is sent, in ms. */
const PATIENCE_MS = 15_000;
/** How much of what a command prints is kept, in characters. */
const LOG_LENGTH = 8192;

/** @type {{ directories: string[], pgCtl: string }} */
const { directories, pgCtl } = JSON.parse(process.argv[2] ?? '');
/** @type {import('node:child_process').ChildProcess | undefined} */
let child;
/** @type {NodeJS.Signals[]} */
let signals = [];
let log = '';
let stopping = false;

process.title = 'frameforge-postgres';
process.on('disconnect', stop);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stop);
process.on('uncaughtException', (error) => {
  tell({ exit: { code: null, log: log + error.stack } }, stop);
});
process.on('message', (/** @type {'stop' | Command} */ message) => {
  if (message === 'stop') stop();
  else if (!stopping) run(message);
});
// The channel may be closed before this program has begun to listen.
if (!process.connected) stop();

/** @param {Command} command */
function run({ file, args, options, signals: enders }) {
  log = '';
  signals = enders;
  const running = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  child = running;
  const keep = (/** @type {unknown} */ text) => {
    log = (log + String(text)).slice(-LOG_LENGTH);
  };
  running.stdout.on('data', keep);
  running.stderr.on('data', keep);
  running.on('error', ({ message }) => keep(message));
  running.on('close', (code) => {
    child = undefined;
    tell({ exit: { code, log } }, () => {
      if (stopping) finish();
    });
  });
  tell({ pid: running.pid });
}

function stop() {
  if (stopping) return;
  stopping = true;
  if (child === undefined) finish();
  else signalChild(child);
}

/** @param {import('node:child_process').ChildProcess} running */
function signalChild(running) {
  const signal = signals.shift() ?? 'SIGKILL';
  if (process.platform === 'win32') spawn(pgCtl, ['kill', signal.slice(3), String(running.pid)]);
  else running.kill(signal);
  setTimeout(() => {
    if (child === running) signalChild(running);
  }, PATIENCE_MS).unref();
}

function finish() {
  try {
    for (const path of directories) rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  } catch {
    process.exitCode = 1;
  }
  if (process.connected) process.disconnect();
}

/**
 * @param {{ pid?: number, exit?: import('./guardian.js').Exit }} message
 * @param {() => void} done
 */
function tell(message, done = () => {}) {
  if (process.connected) process.send?.(message, done);
  else done();
}
