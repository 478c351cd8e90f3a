// Counts passed and failed checks. Every script here that checks something prints "N passed, N failed" as its last
// line, and has the exit code 1 if anything failed.
import { spawn } from 'node:child_process';

const LINE = /^(\d+) passed, (\d+) failed$/;
/** A line that says what failed. If a command prints none, its last lines are such lines. */
const REASON = /^\s*Failed: /;
const LAST_LINES = 15;
const MOST_REASONS = 60;

export class Tally {
  passed = 0;
  failed = 0;
  #failures = [];

  /** Counts one check, or several at once. @param reasons - lines that say what failed */
  add(name, { passed, failed, reasons = [] }) {
    this.passed += passed;
    this.failed += failed;
    if (failed === 0) return;
    this.#failures.push(`${name}: ${failed} failed`, ...reasons.map((line) => `  ${line}`));
  }

  /** Prints the result and sets the exit code. A run in which nothing passed is no success. */
  end() {
    const list = this.#failures.map((failure) => `  ${failure}\n`).join('');
    if (list !== '') process.stdout.write(`\nWhat failed:\n${list}`);
    process.stdout.write(`\n${this.passed} passed, ${this.failed} failed\n`);
    process.exitCode = this.failed === 0 && this.passed > 0 ? 0 : 1;
  }
}

export function heading(text) {
  process.stdout.write(`\n=== ${text}\n`);
}

/**
 * Runs a command in a process group of its own, shows what it prints, and ends the group with it,
 * or after `timeoutMs`, or when this process is told to end.
 *
 * @returns its exit code (null if a signal ended it), the counts of its last "N passed, N failed", and lines that
 *   say why it failed
 */
export async function run([file, ...args], { env = {}, timeoutMs = 0 } = {}) {
  const child = spawn(file, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const end = () => endGroup(child.pid);
  for (const signal of SIGNALS) process.once(signal, end);
  const timer = timeoutMs > 0 ? setTimeout(end, timeoutMs) : undefined;
  let counts;
  const reasons = new Set();
  const last = [];
  const readLine = (line) => {
    counts = LINE.exec(line) ?? counts;
    if (REASON.test(line) && reasons.size < MOST_REASONS) reasons.add(line.trim());
    if (line.trim() !== '' && last.push(`Failed: printed ${line.trim()}`) > LAST_LINES)
      last.shift();
  };
  for (const [from, to] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    let rest = '';
    from.setEncoding('utf8').on('data', (text) => {
      to.write(text);
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      lines.forEach(readLine);
    });
  }
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
    // A process that has left the group, and goes on, may keep the output open.
    child.once('exit', () => {
      setTimeout(
        () => [child.stdout, child.stderr].forEach((pipe) => pipe.destroy()),
        PATIENCE_MS,
      ).unref();
    });
  });
  clearTimeout(timer);
  for (const signal of SIGNALS) process.off(signal, end);
  return {
    code,
    counts: counts && { passed: Number(counts[1]), failed: Number(counts[2]) },
    reasons: reasons.size > 0 ? [...reasons] : last,
  };
}

const PATIENCE_MS = 15_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

function endGroup(pid, signal = 'SIGTERM') {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
    return;
  }
  if (signal === 'SIGTERM') setTimeout(() => endGroup(pid, 'SIGKILL'), PATIENCE_MS).unref();
}

/**
 * The counts of a command that has ended. If it printed none, it counts as one check. An exit code that contradicts
 * the printed counts is one more failure.
 */
export function outcome({ code, counts, reasons }) {
  if (counts === undefined) {
    return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1, reasons };
  }
  const contradiction = code !== 0 && counts.failed === 0 ? 1 : 0;
  return { passed: counts.passed, failed: counts.failed + contradiction, reasons };
}
