import { RunTimeoutError } from '../errors.js';
import type { Lease } from '../jobs/leases/lease.keeper.js';

/** How long, in ms, a handler has to heed its signal when its run has reached its limit. */
const HEED_MS = 5_000;

/**
 * The time that the handler of one run may take. When it is over, the run's signal is aborted, and whatever
 * the handler does from then on comes to a `RunTimeoutError`. A handler that goes on is given up after 5 s.
 * Only the application's own code is timed, and not how long it takes to record what came of it.
 */
export class RunLimit {
  /** Why the run failed; undefined while it is in time, and if it was aborted for another reason. */
  error: RunTimeoutError | undefined;
  private leftMs: number;

  /**
   * @param maxRunMs - in ms; Infinity for none
   * @param onGivenUp - is told of a handler that is given up, and gets a promise of its end
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
   * @param cutOff - takes from that code what it could still write by
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
          timer = setTimeout(giveUp, HEED_MS);
          this.end();
        },
        Math.max(this.leftMs, 0),
      );
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
