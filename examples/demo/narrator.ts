import { FrameForgeError } from '@frameforge/shared-types';

/** A claim of the demonstration that turned out not to be true. */
export class ClaimFailed extends Error {}

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

/** Prints what happens. Nothing is printed as done that was not checked first. */
export class Narrator {
  private chapters = 0;
  private claims = 0;

  title(text: string): void {
    say(`\n${text}`);
  }

  chapter(text: string): void {
    this.chapters += 1;
    say(`\n${this.chapters}. ${text}`);
  }

  /** Prints a claim if it holds, and ends the demonstration if it does not. */
  claim(text: string, holds: boolean): void {
    if (!holds) throw new ClaimFailed(`This does not hold: ${text}`);
    this.claims += 1;
    say(`   ✔ ${text}`);
  }

  /** Prints what was read from the database, indented. */
  quote(lines: readonly string[]): void {
    for (const line of lines) say(`     ${line}`);
  }

  end(seconds: number): void {
    say(`\nAll ${this.claims} claims were checked and hold (${seconds.toFixed(1)} s).`);
  }
}

/** Lets the process end with exit code 1, and says why. */
export function failWith(error: unknown): void {
  const expected = error instanceof ClaimFailed || error instanceof FrameForgeError;
  const reason = expected ? error.message : String((error as Error).stack);
  process.stderr.write(`\n✘ ${reason}\n`);
  process.exitCode = 1;
}
