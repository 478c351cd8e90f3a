import { DEFAULT_LEASE_MS } from '../../input/defaults.js';
import { CheckedBy } from '../../input/input.js';
import { integer } from '../../input/rules.js';
import { VideoJob } from '../../schema/entities/index.js';
import type { SqlRunner } from '../../sql/sql.runner.js';
import type { JobHandle } from '../job.inputs.js';
import { LeaseKeeper } from './lease.keeper.js';
import { Signalled } from './signalled.js';
import type { Lease } from './lease.keeper.js';

/** The options of `keepLease`. */
export class KeepLeaseOptions {
  /** The length of the lease at each extension, in ms: 1,000 or more; 30,000 if left out. */
  @CheckedBy(integer(1_000), 'optional') leaseMs?: number;
}

/** A lease that is extended until `stop()` is called. */
export interface KeptLease {
  /** Is aborted when the lease is lost, or the job is cancelled or deleted. Then stop the work: its outcome is refused. */
  readonly signal: AbortSignal;
  /** Stops extending the lease. It then ends by itself, unless the job was finished. */
  stop(): void;
}

/** The leases that `keepLease` keeps. All leases of one length share a keeper and its statements. */
export class KeptLeases {
  private readonly keepers = new Map<number, LeaseKeeper>();

  /** @param runnerOf - makes a runner of statements that waits this long for a reply, in ms */
  constructor(private readonly runnerOf: (replyTimeoutMs: number) => SqlRunner) {}

  keep(handle: JobHandle, leaseMs = DEFAULT_LEASE_MS): KeptLease {
    const keeper = this.keepers.get(leaseMs) ?? this.newKeeper(leaseMs);
    this.keepers.set(leaseMs, keeper);
    const job = Object.assign(new VideoJob(), handle);
    const [lease] = keeper.add([job], performance.now()) as [Lease];
    // It is not known how much of the lease is left, so it is extended at once.
    keeper.check(handle.jobId);
    return Object.assign(new Signalled(lease.abort), { stop: () => keeper.remove(lease) });
  }

  private newKeeper(leaseMs: number): LeaseKeeper {
    // A statement is given up after a third of a lease, in time for another try.
    const db = this.runnerOf(Math.ceil(leaseMs / 3));
    return new LeaseKeeper(db, leaseMs, UNWATCHED, () => {});
  }
}

/** Failures to extend are not logged: if the lease ends by them, the `reason` of the signal says so. */
const UNWATCHED = { succeeded: () => {}, failed: () => Infinity, forget: () => {} };
