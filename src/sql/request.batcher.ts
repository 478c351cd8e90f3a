import { DatabaseUnavailableError } from '../errors.js';

interface Waiting<Input, Output> {
  readonly input: Input;
  readonly resolve: (output: Output | Promise<Output>) => void;
  readonly reject: (error: unknown) => void;
}

/** How a kind of call is made. */
export interface GroupedCall<Input, Output> {
  /**
   * Makes several calls by one statement, which must not wait for anybody's lock: the calls have
   * nothing to do with each other. Undefined for one that is to be made alone.
   */
  together(inputs: readonly Input[]): Promise<(Output | undefined)[]>;
  /** Makes one call, however long it takes. */
  alone(input: Input): Promise<Output>;
}

/** How many statements of a kind are under way at once: enough for their commits to overlap. */
const LANES = 4;

/**
 * Makes calls that come at the same time by one statement, so that they share its round trip and its
 * commit: what databases do with their logs, and call group commit. A call goes at once if it can; those
 * that come while four statements are under way are in the next one. Nothing waits for a timer.
 */
export class GroupCommit<Input, Output> {
  private waiting: Waiting<Input, Output>[] = [];
  private starting = false;
  private busy = 0;

  /** @param maxGroup - how many calls one statement makes at the most */
  constructor(
    private readonly call: GroupedCall<Input, Output>,
    private readonly maxGroup = 100,
  ) {}

  /** @throws whatever becomes of this call, whatever becomes of the others */
  run(input: Input): Promise<Output> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ input, resolve, reject });
      this.start();
    });
  }

  private start(): void {
    if (this.starting || this.busy === LANES) return;
    this.starting = true;
    // What else is called in this turn of the event loop comes along.
    process.nextTick(() => {
      this.starting = false;
      void this.work();
    });
  }

  private async work(): Promise<void> {
    this.busy += 1;
    while (this.waiting.length > 0) {
      const group = this.waiting.splice(0, this.maxGroup);
      if (this.waiting.length > 0) this.start();
      await this.make(group);
    }
    this.busy -= 1;
  }

  private async make(group: readonly Waiting<Input, Output>[]): Promise<void> {
    try {
      const outputs = await this.call.together(group.map(({ input }) => input));
      group.forEach(({ input, resolve }, index) => {
        resolve(outputs[index] ?? this.call.alone(input));
      });
    } catch (error) {
      // What one of them cannot do, the others shall not suffer for.
      const again = group.length > 1 && wasUndone(error);
      for (const { input, resolve, reject } of group) {
        if (again) resolve(this.call.alone(input));
        else reject(error);
      }
    }
  }
}

/**
 * Whether the server has answered with an error, so that nothing was written. Without an answer the
 * statement may be done, and made again it would be done twice.
 */
function wasUndone(error: unknown): boolean {
  if (error instanceof DatabaseUnavailableError) return false;
  const { cause } = error as { cause?: unknown };
  return [error, cause].some(
    (one) => typeof (one as { severity?: unknown })?.severity === 'string',
  );
}
