import { array, constant, constantFrom, integer, nat, oneof, record } from 'fast-check';
import type { Arbitrary } from 'fast-check';

/** How a handler ends. With `write` it goes on in its own transaction, until it is told to commit. */
export const ENDINGS = ['result', 'throw', 'unrecoverable', 'notNow', 'write'] as const;
export type Ending = (typeof ENDINGS)[number];

/** The calls that a holder of a handle may try, however old the handle is. */
export const CALLS = ['complete', 'fail', 'retryLater', 'release', 'extend', 'progress'] as const;
export type Call = (typeof CALLS)[number];

/**
 * Jobs, workers and runs have numbers. The number of a run counts the claims of the schedule back from the
 * latest one.
 */
export type Step =
  | { readonly do: 'claim'; readonly worker: number; readonly limit: number }
  /** The lease of a job is over: its worker is stalled. */
  | { readonly do: 'lapse'; readonly job: number }
  /** The lease of a job is over, and at once a worker claims the job. */
  | { readonly do: 'steal'; readonly job: number; readonly worker: number }
  | { readonly do: 'heartbeat'; readonly worker: number }
  | { readonly do: 'end'; readonly run: number; readonly how: Ending }
  | { readonly do: 'commit'; readonly run: number }
  /** All runs of a worker end at the same moment, and are recorded in one batch. */
  | { readonly do: 'endAll'; readonly worker: number; readonly how: Ending }
  /** A run reaches its time limit. What it still does is too late. */
  | { readonly do: 'limit'; readonly run: number }
  /** A worker that shuts down gives a job back. */
  | { readonly do: 'release'; readonly run: number }
  /** A call of the service with the handle of the run, not by its worker. */
  | { readonly do: 'call'; readonly run: number; readonly call: Call }
  /** A user cancels a job. */
  | { readonly do: 'cancel'; readonly job: number }
  /** An operator makes a failed job pending again. */
  | { readonly do: 'retryJob'; readonly job: number };

export interface Schedule {
  readonly jobs: number;
  readonly steps: readonly Step[];
}

const worker = nat({ max: 1 });
const job = nat({ max: 2 });
const run = nat({ max: 5 });
const how = constantFrom(...ENDINGS);
const step = <T extends Step>(values: { [K in keyof T]: Arbitrary<T[K]> }): Arbitrary<T> =>
  record(values) as unknown as Arbitrary<T>;
const is = <T extends string>(name: T): Arbitrary<T> => constant(name);

/** Most steps are claims of jobs that others hold, and late ends. */
export const schedules: Arbitrary<Schedule> = record({
  jobs: integer({ min: 1, max: 3 }),
  steps: array(
    oneof(
      {
        weight: 4,
        arbitrary: step({ do: is('claim'), worker, limit: integer({ min: 1, max: 3 }) }),
      },
      { weight: 2, arbitrary: step({ do: is('lapse'), job }) },
      { weight: 6, arbitrary: step({ do: is('steal'), job, worker }) },
      { weight: 4, arbitrary: step({ do: is('end'), run, how }) },
      { weight: 2, arbitrary: step({ do: is('commit'), run }) },
      { weight: 2, arbitrary: step({ do: is('heartbeat'), worker }) },
      { weight: 2, arbitrary: step({ do: is('endAll'), worker, how }) },
      { weight: 2, arbitrary: step({ do: is('call'), run, call: constantFrom(...CALLS) }) },
      { weight: 3, arbitrary: step({ do: is('limit'), run }) },
      { weight: 1, arbitrary: step({ do: is('release'), run }) },
      { weight: 2, arbitrary: step({ do: is('cancel'), job }) },
      { weight: 1, arbitrary: step({ do: is('retryJob'), job }) },
    ),
    { minLength: 4, maxLength: 16, size: 'max' },
  ),
});
