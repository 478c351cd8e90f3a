import { AsyncLocalStorage } from 'node:async_hooks';
import { DatabaseUnavailableError } from '../errors.js';

/** One kind of request, as the batcher sees it. */
export interface BatchedRequests<Input, Output> {
  /** The method that makes the requests, for the messages of errors. */
  readonly operation: string;
  /**
   * Makes several requests with one statement. The statement must not wait for a lock, because the requests
   * are independent of each other. Returns undefined for each request that the statement passed over.
   */
  together(inputs: readonly Input[]): Promise<(Output | undefined)[]>;
  /** Makes one request, however long it takes. */
  alone(input: Input): Promise<Output>;
  /** The id of the row that a request changes, if there is one: no statement changes a row twice. */
  rowOf?(input: Input): string;
}

interface Limits {
  /** How many requests one statement sends at most. */
  readonly maxBatch?: number;
  /** How many requests may wait or run. */
  readonly maxPending?: number;
}

/** A class, because V8 may make the objects of a literal among its old ones, with all that they refer to. */
class Pending<Input, Output> {
  /** Whether a statement has passed over the request before. */
  passedOver = false;

  constructor(
    readonly input: Input,
    readonly resolve: (output: Output | typeof ALONE) => void,
    readonly reject: (error: unknown) => void,
  ) {}
}

/** The output of a request that must be made alone. */
const ALONE = Symbol('alone');

/**
 * How many statements of a kind run at once. With two, the commit of one overlaps with the work of the other. With
 * four, the statements were smaller, and a claim with its completion took a quarter more of the server's time.
 */
const MAX_STATEMENTS = 2;
/** How many run at once while a whole batch waits, because its statement would not become larger. */
const MAX_FULL_STATEMENTS = 4;
/** After this time, in ms, other statements may start although a statement has no answer yet. */
const PATIENCE_MS = 1_000;

/**
 * Makes requests that come at the same time with one statement, so that they share its round trip and its
 * commit. A request is sent at once if fewer than two statements are running. Otherwise it goes into the next
 * statement. While a whole batch waits, up to four run. Nothing waits for a timer. A statement that has no answer
 * after a second (its connection may be dead) delays only its own requests.
 *
 * The statement may pass over a request, because its row is locked or the request must be refused. Such a request
 * goes into one more statement, and is then made alone. If a statement fails, each of its requests is made alone,
 * so that one bad request does not fail the others.
 */
export class RequestBatcher<Input, Output> {
  private readonly queue: Pending<Input, Output>[] = [];
  private readonly maxBatch: number;
  private readonly maxPending: number;
  private pending = 0;
  private statements = 0;
  private isStarting = false;
  /** A statement belongs to no single request, so it runs in the asynchronous context in which the batcher was made. */
  private readonly inOwnContext = AsyncLocalStorage.snapshot();

  constructor(
    private readonly requests: BatchedRequests<Input, Output>,
    { maxBatch = 100, maxPending = 50_000 }: Limits = {},
  ) {
    this.maxBatch = maxBatch;
    this.maxPending = maxPending;
  }

  /**
   * @throws the error of this request alone, whatever happens to the other requests
   * @throws DatabaseUnavailableError if too many requests wait already
   */
  async run(input: Input): Promise<Output> {
    if (this.pending >= this.maxPending) {
      const cause = new Error(`${this.pending} calls are waiting already`);
      throw new DatabaseUnavailableError(this.requests.operation, { cause });
    }
    this.pending += 1;
    try {
      const output = await new Promise<Output | typeof ALONE>((resolve, reject) => {
        this.queue.push(new Pending(input, resolve, reject));
        this.start();
      });
      return output === ALONE ? await this.requests.alone(input) : output;
    } finally {
      this.pending -= 1;
    }
  }

  private start(): void {
    const most = this.queue.length < this.maxBatch ? MAX_STATEMENTS : MAX_FULL_STATEMENTS;
    if (this.isStarting || this.queue.length === 0 || this.statements >= most) return;
    this.isStarting = true;
    // Other requests of this turn of the event loop go into this statement, too.
    this.inOwnContext(() => {
      process.nextTick(() => {
        this.isStarting = false;
        void this.send(this.takeBatch());
        this.start();
      });
    });
  }

  /** The requests that have waited longest. Of several requests about one row, only the first. */
  private takeBatch(): Pending<Input, Output>[] {
    const batch: Pending<Input, Output>[] = [];
    const later: Pending<Input, Output>[] = [];
    const rows = new Set<string>();
    for (const request of this.queue.splice(0, this.maxBatch)) {
      const row = this.requests.rowOf?.(request.input);
      (row !== undefined && rows.has(row) ? later : batch).push(request);
      if (row !== undefined) rows.add(row);
    }
    this.queue.unshift(...later);
    return batch;
  }

  private async send(batch: readonly Pending<Input, Output>[]): Promise<void> {
    this.statements += 1;
    let isCounted = true;
    const letOthersPass = (): void => {
      if (isCounted) this.statements -= 1;
      isCounted = false;
      this.start();
    };
    const timer = setTimeout(letOthersPass, PATIENCE_MS);
    try {
      const outputs = await this.requests.together(batch.map(({ input }) => input));
      batch.forEach((request, index) => {
        const output = outputs[index];
        if (output !== undefined) request.resolve(output);
        else if (request.passedOver || batch.length === 1) request.resolve(ALONE);
        else {
          request.passedOver = true;
          this.queue.push(request);
        }
      });
    } catch (error) {
      const again = batch.length > 1 && wasUndone(error);
      for (const { resolve, reject } of batch) {
        if (again) resolve(ALONE);
        else reject(error);
      }
    }
    clearTimeout(timer);
    letOthersPass();
  }
}

/**
 * Whether the server has answered with an error, so that nothing was written. Without an answer the statement may
 * have been done, and a second try would do it twice.
 */
function wasUndone(error: unknown): boolean {
  if (error instanceof DatabaseUnavailableError) return false;
  const { severity, cause } = (error ?? {}) as { severity?: unknown; cause?: unknown };
  return typeof severity === 'string' || (error instanceof Error && wasUndone(cause));
}
