// Shows a bar in a terminal while something takes longer than a second.
//
//   node scripts/waiting.mjs npm run build    runs a command, and ends with its exit code
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PATIENCE_MS = 1_000;
const STEP_MS = 100;
const WIDTH = 20;
const LIT = 5;

export class Waiting {
  #terminal;
  #timer;
  #since = 0;

  /** @param {import('node:tty').WriteStream} terminal - if it is not a terminal, no bar is shown */
  constructor(terminal) {
    this.#terminal = terminal;
  }

  begin() {
    this.end();
    if (!this.#terminal.isTTY) return;
    this.#since = performance.now();
    this.#timer = setInterval(() => this.#draw(), STEP_MS);
    this.#timer.unref();
  }

  end() {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#terminal.cursorTo(0);
    this.#terminal.clearLine(1);
  }

  /** The duration is unknown, so the bright part of the bar moves round. */
  #draw() {
    const ms = performance.now() - this.#since;
    if (ms < PATIENCE_MS) return;
    const at = Math.floor(ms / STEP_MS) % WIDTH;
    const isLit = (place) => (place - at + WIDTH) % WIDTH < LIT;
    const bar = Array.from({ length: WIDTH }, (_, place) => (isLit(place) ? '▰' : '▱')).join('');
    this.#terminal.cursorTo(0);
    this.#terminal.write(`    ${bar} ${(ms / 1_000).toFixed(0)} s`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [file, ...args] = process.argv.slice(2);
  const waiting = new Waiting(process.stdout);
  waiting.begin();
  const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  process.exitCode = await new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', (code) => resolve(code ?? 1));
  });
  waiting.end();
}
