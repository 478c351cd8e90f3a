import { createNoopMeter } from '@opentelemetry/api';
import type { Histogram, Meter, MeterProvider } from '@opentelemetry/api';

/** Keeps the times that the worker reports of its claims. */
export class ClaimTimes implements MeterProvider {
  #times: number[] = [];

  getMeter(): Meter {
    return Object.assign(createNoopMeter(), {
      createHistogram: (name: string): Histogram => ({
        record: (seconds, attributes) => {
          if (name === 'frameforge.claim.duration' && attributes?.['queue'] === 'jobs') {
            this.#times.push(seconds * 1_000);
          }
        },
      }),
    });
  }

  /** The times since the last call. */
  take(): number[] {
    return this.#times.splice(0);
  }
}
