import { ConfigurationError } from '../errors.js';
import { DEFAULT_LEASE_MS, DEFAULT_MAX_ATTEMPTS } from '../input/defaults.js';

/** How long to wait before another try: `baseMs`, doubled at each, up to `maxMs`, with jitter. */
export interface BackoffOptions {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** The options of `FrameForgeWorkerModule`. */
export interface FrameForgeWorkerOptions {
  /** How long a job is leased, in ms; it is extended three times as often. Default 30,000. */
  readonly leaseMs?: number;
  /** How often a job is tried. Default 5. */
  readonly maxAttempts?: number;
  /** The wait before a job's next try. Default 2 s, doubled up to 10 min. */
  readonly backoff?: BackoffOptions;
  /** How long one delivery may take, in ms, before it is given to another worker. Default 30,000. */
  readonly deliveryLeaseMs?: number;
  /** How often a delivery is tried. Default 10, which with the default backoff takes over an hour. */
  readonly maxDeliveryAttempts?: number;
  /** The wait before a delivery's next try. Default 15 s, doubled up to 1 h. */
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
  /** The name of the data source, if it is not the default one. */
  readonly dataSource?: string;
}

export type ResolvedWorkerOptions = Required<Omit<FrameForgeWorkerOptions, 'dataSource'>> & {
  readonly dataSource: string | undefined;
};

/** The longest time that Node's timers and PostgreSQL's integers hold: 24.8 days. */
const MAX_MS = 2 ** 31 - 1;

const DEFAULTS: ResolvedWorkerOptions = {
  leaseMs: DEFAULT_LEASE_MS,
  maxAttempts: DEFAULT_MAX_ATTEMPTS,
  backoff: { baseMs: 2_000, maxMs: 600_000 },
  deliveryLeaseMs: DEFAULT_LEASE_MS,
  maxDeliveryAttempts: 10,
  deliveryBackoff: { baseMs: 15_000, maxMs: 3_600_000 },
  pollMs: 500,
  shutdownMs: 20_000,
  listen: false,
  dataSource: undefined,
};

/**
 * Checks the options and fills in the defaults.
 *
 * @throws ConfigurationError naming each that is unknown or wrong
 */
export function resolveWorkerOptions(options: FrameForgeWorkerOptions = {}): ResolvedWorkerOptions {
  const problems: string[] = [];
  for (const key of Object.keys(options)) {
    if (!Object.hasOwn(DEFAULTS, key))
      problems.push(`\`${key}\` is not an option here: remove or correct it`);
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const resolved: ResolvedWorkerOptions = { ...DEFAULTS, ...Object.fromEntries(given) };
  const atLeast = (name: string, value: unknown, min: number): void => {
    if (!(Number.isInteger(value) && Number(value) >= min && Number(value) <= MAX_MS)) {
      problems.push(`\`${name}\` must be a whole number from ${min} to ${MAX_MS}`);
    }
  };
  // A lease that ends within a few round trips would be lost before it could be extended.
  atLeast('leaseMs', resolved.leaseMs, 1_000);
  atLeast('deliveryLeaseMs', resolved.deliveryLeaseMs, 1_000);
  atLeast('maxAttempts', resolved.maxAttempts, 1);
  atLeast('maxDeliveryAttempts', resolved.maxDeliveryAttempts, 1);
  atLeast('pollMs', resolved.pollMs, 1);
  atLeast('shutdownMs', resolved.shutdownMs, 0);
  for (const name of ['backoff', 'deliveryBackoff'] as const) {
    atLeast(`${name}.baseMs`, resolved[name]?.baseMs, 0);
    atLeast(`${name}.maxMs`, resolved[name]?.maxMs, 0);
  }
  if (problems.length > 0) {
    throw new ConfigurationError(`FrameForgeWorkerModule cannot start: ${problems.join('; ')}.`);
  }
  return resolved;
}
