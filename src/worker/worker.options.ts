import { ConfigurationError } from '../errors.js';
import type { VideoJob } from '../schema/entities/index.js';
import type { ClaimOrder } from '../jobs/job.inputs.js';
import { DEFAULT_LEASE_MS, DEFAULT_MAX_ATTEMPTS } from '../input/defaults.js';
import type { OptionRule } from '../input/option.rules.js';
import {
  aFunction,
  flag,
  MAX_MS,
  milliseconds,
  oneOf,
  optionProblems,
  text,
  wholeNumber,
} from '../input/option.rules.js';

/** The wait before the next try: `baseMs` at first, then twice as long after each try, up to `maxMs`, with jitter. */
export interface BackoffOptions {
  /** The wait before the second try, in ms. */
  readonly baseMs: number;
  /** The longest wait, in ms. */
  readonly maxMs: number;
}

/** For how long jobs are kept after they have ended. */
export interface RetentionOptions {
  /** Completed jobs, in ms; for ever if left out. */
  readonly completedMs?: number;
  /** Failed and cancelled jobs, in ms; for ever if left out. */
  readonly failedMs?: number;
}

/** The options of `FrameForgeWorkerModule`. */
export interface FrameForgeWorkerOptions {
  /** How many jobs run at once in this process. Default: that of `@VideoJobProcessor`, else 1. */
  readonly concurrency?: number;
  /** How many deliveries run at once in this process. Default: that of `@NotificationDeliverer`, else 1. */
  readonly deliveryConcurrency?: number;
  /** How long one run of a job may take, in ms. Default: that of `@VideoJobProcessor`, else no limit. */
  readonly maxRunMs?: number;
  /** The length of a job's lease, in ms. The worker extends it every third of that time. Default 30,000. */
  readonly leaseMs?: number;
  /** How often a job is tried. Default 5. */
  readonly maxAttempts?: number;
  /** The wait before a job's next try. Default 2 s, doubled up to 10 min. */
  readonly backoff?: BackoffOptions;
  /** How long one delivery may take, in ms, before it is given to another worker. Default 30,000. */
  readonly deliveryLeaseMs?: number;
  /** How often a delivery is tried. Default 27, which with the default backoff takes two days or more. */
  readonly maxDeliveryAttempts?: number;
  /** The wait before a delivery's next try. Default 15 s, doubled up to 6 h. */
  readonly deliveryBackoff?: BackoffOptions;
  /** How often an idle worker looks for work, in ms; each wait is half to one and a half of it. Default 500. */
  readonly pollMs?: number;
  /** How long running handlers may go on after SIGTERM, in ms. Default 20,000. */
  readonly shutdownMs?: number;
  /**
   * Wake up by the `NOTIFY` of other processes (`notifyWorkers` of `FrameForgeDatabaseModule`). It
   * needs a session of its own, which a pooler in transaction mode cannot give. Default false.
   */
  readonly listen?: boolean;
  /**
   * Makes the text that a job's user reads in `errorMessage` when the handler threw an error. Default: the
   * message of the error. `listAttemptErrors` has the message of the error in either case.
   *
   * @param error - what the handler threw
   */
  readonly errorMessage?: (error: unknown, job: VideoJob) => string;
  /**
   * In which order pending jobs are claimed. `'age'`: the job that has waited longest comes first. `'fair'`:
   * the oldest job of one user after the other, so that nobody waits behind the backlog of another user. Default
   * `'age'`, or `'fair'` with `maxRunningPerUser`.
   */
  readonly order?: ClaimOrder;
  /**
   * How many jobs of one user may be processing at once. Give all workers the same value. Default: no
   * limit.
   */
  readonly maxRunningPerUser?: number;
  /**
   * Remove completed and failed jobs, with their notifications, after this time. Only one worker does this
   * at a time. A job stays until its notification is delivered. Default: keep everything.
   */
  readonly retention?: RetentionOptions;
  /** The name of the data source, if it is not the default one. */
  readonly dataSource?: string;
}

type Optional =
  | 'concurrency'
  | 'deliveryConcurrency'
  | 'maxRunMs'
  | 'retention'
  | 'dataSource'
  | 'errorMessage'
  | 'maxRunningPerUser';

export type ResolvedWorkerOptions = Required<Omit<FrameForgeWorkerOptions, Optional>> & {
  readonly [key in Optional]: FrameForgeWorkerOptions[key] | undefined;
};

const DEFAULTS: ResolvedWorkerOptions = {
  concurrency: undefined,
  deliveryConcurrency: undefined,
  maxRunMs: undefined,
  leaseMs: DEFAULT_LEASE_MS,
  maxAttempts: DEFAULT_MAX_ATTEMPTS,
  backoff: { baseMs: 2_000, maxMs: 600_000 },
  deliveryLeaseMs: DEFAULT_LEASE_MS,
  maxDeliveryAttempts: 27,
  deliveryBackoff: { baseMs: 15_000, maxMs: 21_600_000 },
  pollMs: 500,
  shutdownMs: 20_000,
  listen: false,
  errorMessage: undefined,
  order: 'age',
  maxRunningPerUser: undefined,
  retention: undefined,
  dataSource: undefined,
};

const backoff: OptionRule = (value) =>
  optionProblems(value, { baseMs: milliseconds, maxMs: milliseconds }).length === 0 &&
  Object.keys(value as object).length === 2
    ? undefined
    : `must be { baseMs, maxMs }, each a whole number of milliseconds from 0 to ${MAX_MS}`;

/** A hundred years, in ms. */
const MAX_KEPT_MS = 3_155_760_000_000;
const kept = wholeNumber(0, MAX_KEPT_MS);

const retention: OptionRule = (value) =>
  !Array.isArray(value) && optionProblems(value, { completedMs: kept, failedMs: kept }).length === 0
    ? undefined
    : `must be { completedMs, failedMs }, each a whole number of milliseconds from 0 to ${MAX_KEPT_MS}, or left out`;

/** The rule of every option. The type makes the compiler report a missing one. */
const RULES: Record<keyof FrameForgeWorkerOptions, OptionRule> = {
  concurrency: wholeNumber(1),
  deliveryConcurrency: wholeNumber(1),
  maxRunMs: wholeNumber(1, MAX_MS, 'milliseconds'),
  // A lease that ends within a few round trips would be lost before it could be extended.
  leaseMs: wholeNumber(1_000),
  maxAttempts: wholeNumber(1),
  backoff,
  deliveryLeaseMs: wholeNumber(1_000),
  maxDeliveryAttempts: wholeNumber(1),
  deliveryBackoff: backoff,
  // One and a half times this must still be a time that a timer can wait.
  pollMs: wholeNumber(1, Math.floor(MAX_MS / 1.5)),
  shutdownMs: wholeNumber(0),
  listen: flag,
  errorMessage: aFunction,
  order: oneOf('age', 'fair'),
  maxRunningPerUser: wholeNumber(1),
  retention,
  dataSource: text,
};

/**
 * Checks the options and fills in the defaults. An option that is undefined counts as left out.
 *
 * @throws ConfigurationError naming each option that is unknown or wrong
 */
export function resolveWorkerOptions(options: FrameForgeWorkerOptions = {}): ResolvedWorkerOptions {
  const problems = optionProblems(options, RULES);
  const { order, maxRunningPerUser } = options ?? {};
  if (order === 'age' && maxRunningPerUser !== undefined) {
    problems.push("`maxRunningPerUser` needs `order: 'fair'`: leave the order out, or the limit");
  }
  if (problems.length > 0) {
    throw new ConfigurationError(`FrameForgeWorkerModule cannot start: ${problems.join('; ')}.`);
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const byCap = maxRunningPerUser === undefined ? {} : { order: 'fair' as const };
  return { ...DEFAULTS, ...byCap, ...Object.fromEntries(given) };
}
