import { DEFAULT_LEASE_MS } from '../../input/defaults.js';
import { CheckedBy } from '../../input/input.js';
import { integer } from '../../input/rules.js';
import { VideoJob } from '../../schema/entities/index.js';
import type { SqlRunner } from '../../sql/sql.runner.js';
import type { JobHandle } from '../job.inputs.js';
import { LeaseKeeper } from './lease.keeper.js';
import type { Lease } from './lease.keeper.js';

/** How a lease is kept. */
export class KeepLeaseOptions {
  /** How long the lease is, in ms, each time that it is extended; 1,000 or more; 30,000 if left out. */
  @CheckedBy(integer(1_000), 'optional') leaseMs?: number;
}

/** A lease that is extended until its work is done. */
export interface KeptLease {
  /** Aborted when the lease is lost, or the job was cancelled or deleted: stop, nothing will be recorded. */
  readonly signal: AbortSignal;
  /** Ends the care for the lease, which then runs out by itself, unless the job was finished. */
  stop(): void;
}

/** The leases that consumers of a broker keep: one keeper for each length, and one statement for all of it. */
export class KeptLeases {
  private readonly keepers = new Map<number, LeaseKeeper>();

  /** @param runnerOf - makes what runs the statements, with how long it waits for a reply, in ms */
  constructor(private readonly runnerOf: (replyTimeoutMs: number) => SqlRunner) {}

  keep(handle: JobHandle, leaseMs = DEFAULT_LEASE_MS): KeptLease {
    const keeper = this.keepers.get(leaseMs) ?? this.newKeeper(leaseMs);
    this.keepers.set(leaseMs, keeper);
    const job = Object.assign(new VideoJob(), handle);
    const [lease] = keeper.add([job], performance.now()) as [Lease];
    // How much is left of it is not known here: it is extended at once.
    keeper.check(handle.jobId);
    return {
      get signal() {
        return lease.abort.signal;
      },
      stop: () => keeper.remove(lease),
    };
  }

  private newKeeper(leaseMs: number): LeaseKeeper {
    // What takes a third of a lease is given up in time for another try.
    const db = this.runnerOf(Math.ceil(leaseMs / 3));
    return new LeaseKeeper(db, leaseMs, UNWATCHED, () => {});
  }
}

/** Failures are told by the signal's reason, when the lease has ended by them. */
const UNWATCHED = { succeeded: () => {}, failed: () => Infinity, forget: () => {} };
