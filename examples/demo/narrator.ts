import { styleText } from 'node:util';
import { FrameForgeError } from '@frameforge/shared-types';
import { Waiting } from '../../scripts/waiting.mjs';

/** The error of a statement of the demonstration that is not true. */
export class ClaimFailed extends Error {}

type Style = Parameters<typeof styleText>[0];

/** Adds colour if the terminal has colours and NO_COLOR does not forbid them. */
const styled = (style: Style, text: string): string =>
  process.stdout.isTTY && process.stdout.hasColors() ? styleText(style, text) : text;

/** Prints what happens. It prints a statement only after the statement was checked. */
export class Narrator {
  private readonly waiting = new Waiting(process.stdout);
  private chapters = 0;
  private claims = 0;

  title(text: string): void {
    this.say(`\n${styled('bold', text)}\n`);
  }

  chapter(text: string): void {
    this.chapters += 1;
    this.say(styled('bold', `${String(this.chapters).padStart(2)}. ${text}`));
    this.waiting.begin();
  }

  /** Prints a claim if it holds, and ends the demonstration if it does not. */
  claim(text: string, holds: boolean): void {
    if (!holds) throw new ClaimFailed(`This does not hold: ${text}`);
    this.claims += 1;
    this.say(`    ${styled('green', '✔')} ${text}`);
    this.waiting.begin();
  }

  /** Prints what was read from the database, indented. */
  quote(lines: readonly string[]): void {
    for (const line of lines) this.say(`      ${styled('dim', line)}`);
  }

  end(seconds: number): void {
    const text = `All ${this.claims} statements above were checked, and are true (${seconds.toFixed(1)} s).`;
    this.say(`\n${styled(['bold', 'green'], text)}`);
  }

  /** Ends the display of a wait. */
  stop(): void {
    this.waiting.end();
  }

  private say(line: string): void {
    this.waiting.end();
    process.stdout.write(`${line}\n`);
  }
}

/** Lets the process end with exit code 1, and says why. */
export function failWith(error: unknown): void {
  const expected = error instanceof ClaimFailed || error instanceof FrameForgeError;
  const reason = expected ? error.message : String((error as Error).stack);
  process.stderr.write(`\n✘ ${reason}\n`);
  process.exitCode = 1;
}
