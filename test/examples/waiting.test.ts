import type { WriteStream } from 'node:tty';
import { setTimeout as sleep } from 'node:timers/promises';
import { Waiting } from '../../scripts/waiting.mjs';
import { until } from '../support/until.js';

/** Keeps the text that is written to a terminal. */
class Terminal {
  text = '';
  cleared = 0;

  constructor(readonly isTTY: boolean) {}

  write(text: string): void {
    this.text += text;
  }

  cursorTo(): void {}

  clearLine(): void {
    this.cleared += 1;
  }
}

const waitingOn = (terminal: Terminal): Waiting => new Waiting(terminal as unknown as WriteStream);

it('the demonstration shows a bar when something takes longer than a second, and clears it', async () => {
  const terminal = new Terminal(true);
  const waiting = waitingOn(terminal);
  waiting.begin();
  expect(terminal.text).toBe('');
  await until(async () => /[▰▱]{20} 1 s/.test(terminal.text));
  waiting.end();
  expect(terminal.cleared).toBe(1);
});

it('shows no bar for what is done sooner', async () => {
  const terminal = new Terminal(true);
  const waiting = waitingOn(terminal);
  waiting.begin();
  await sleep(200);
  waiting.end();
  expect(terminal.text).toBe('');
});

it('shows no bar where the output is no terminal', async () => {
  const terminal = new Terminal(false);
  const waiting = waitingOn(terminal);
  waiting.begin();
  await sleep(1_500);
  waiting.end();
  expect(terminal.text).toBe('');
});
