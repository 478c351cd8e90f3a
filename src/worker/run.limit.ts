import { RunTimeoutError } from '../errors.js';
import type { Lease } from '../jobs/leases/lease.keeper.js';

/** How long, in ms, a handler may go on after its signal was aborted by the time limit. */
const HEED_MS = 5_000;

/**
 * Limits the time of the handler of one run. When the time is over, the signal of the run is aborted, and the
 * attempt fails with a `RunTimeoutError`, whatever the handler does then. A handler that goes on is given up after
 * 5 s. Only the application's own code counts, and not the time in which the outcome is recorded.
 */
export class RunLimit {
  /** The error of a run that took too long; undefined in all other cases. */
  error: RunTimeoutError | undefined;
  private leftMs: number;

  /**
   * @param maxRunMs - in ms; Infinity for none
   * @param onGivenUp - is called for a handler that is given up, with a promise of its end
   */
  constructor(
    private readonly lease: Lease,
    private readonly maxRunMs: number,
    private readonly onGivenUp: (ended: Promise<unknown>) => void,
  ) {
    this.leftMs = maxRunMs;
  }

  /**
   * Runs a part of the handler.
   *
   * @param part - the application's code
   * @param cutOff - cuts the connection with which that code could still write
   * @throws RunTimeoutError when the time is over
   */
  run<T>(part: () => Promise<T>, cutOff: () => void = () => {}): Promise<T> {
    return this.maxRunMs === Infinity ? part() : this.timed(part, cutOff);
  }

  private async timed<T>(part: () => Promise<T>, cutOff: () => void): Promise<T> {
    const startedAt = performance.now();
    const work = Promise.resolve(part());
    let timer: NodeJS.Timeout | undefined;
    const givenUp = new Promise<never>((_, reject) => {
      const giveUp = (): void => {
        cutOff();
        this.onGivenUp(Promise.allSettled([work]));
        reject(this.error ?? this.timeout());
      };
      timer = setTimeout(
        () => {
          timer = setTimeout(giveUp, HEED_MS).unref();
          this.end();
        },
        Math.max(this.leftMs, 0),
      ).unref();
    });
    try {
      const outcome = await Promise.race([work, givenUp]);
      if (this.error !== undefined) throw this.error;
      return outcome;
    } catch (error) {
      throw this.error ?? error;
    } finally {
      clearTimeout(timer);
      this.leftMs -= performance.now() - startedAt;
    }
  }

  private end(): void {
    if (this.lease.abort.aborted) return;
    this.error = this.timeout();
    this.lease.abort.abort(this.error);
  }

  private timeout(): RunTimeoutError {
    const { jobId, runNumber } = this.lease.run;
    return new RunTimeoutError(jobId, runNumber, this.maxRunMs);
  }
}
