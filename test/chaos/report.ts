import { cpus, loadavg } from 'node:os';
import type { Counts, Recovery } from './ledger.js';
import type { Backlog } from './backlog.js';
import { LEASE_MS, WORKERS } from './settings.js';
import type { Starts } from './starts.js';

/** A time, in ms, in which the database was away. */
export interface Outage {
  readonly from: number;
  readonly to: number;
}

/** The figures for the report at the end. */
export interface Fire {
  readonly counts: Counts;
  readonly repeatedCalls: number;
  /** Statements that the server ended. */
  readonly timeouts: { readonly locks: number; readonly statements: number };
  readonly kills: number;
  readonly recoveries: readonly Recovery[];
  readonly outages: readonly Outage[];
  readonly backlog: Backlog;
}

/** How long after a kill other workers may take to claim its jobs, in ms. */
const PROMISED_MS = LEASE_MS + 1_000;

export function report(fire: Fire): string {
  const { counts, repeatedCalls, timeouts, kills, recoveries, outages, backlog } = fire;
  const [queued, others] = split(recoveries, ({ killedAt, claimedAt }) =>
    backlog.within(killedAt, claimedAt),
  );
  const [cutOff, free] = split(others, ({ killedAt, claimedAt }) =>
    outages.some(({ from, to }) => from < claimedAt && killedAt < to),
  );
  const away = outages.map(({ from, to }) => seconds(to - from)).join(' and ');
  return `
  jobs acknowledged       ${counts.acknowledged} (${repeatedCalls} calls repeated)
  completed               ${counts.completed}, success notifications ${counts.success}
  failed                  ${counts.failed}, failure notifications ${counts.failure}
  cancelled               ${counts.cancelled}, of which ${counts.cancelledAtWork} were at work
  with an own write       ${counts.ownWrites}
  messages received       ${counts.received}, of which ${counts.receivedTwice} were repetitions
  runs                    ${counts.runs}: ${counts.failedRuns} failed, ${counts.lostRuns} lost with their worker
  statements timed out    ${timeouts.locks} that waited for a lock, ${timeouts.statements} that ran
  workers killed          ${kills}; at work were ${backlog.averageWorkers.toFixed(1)} of ${WORKERS} on average
  crashes of the database ${outages.length}, away for ${away}
  load of the machine     ${loadavg()[0]?.toFixed(1)} processes at work, on ${cpus().length} processors

  from the kill of a worker until others claimed its jobs (lease ${seconds(LEASE_MS)}, promised ${seconds(PROMISED_MS)}):
    with the database up and workers free     ${times(free)}
    with the database away in between         ${times(cutOff)}
    with more due than the workers could take ${times(queued)}
`;
}

export function reportStarts({ sameProcess, otherProcess }: Starts): string {
  return `From the call of createJob until an idle worker begins with the job:
  in the same process       ${quantiles(sameProcess)}
  in another one, by NOTIFY ${quantiles(otherProcess)}
`;
}

function times(recoveries: readonly Recovery[]): string {
  const all = recoveries.map(({ killedAt, claimedAt }) => claimedAt - killedAt);
  if (all.length === 0) return 'no job';
  const late = all.filter((ms) => ms > PROMISED_MS).length;
  return `${all.length} jobs: ${quantiles(all)}; ${late} late`;
}

function quantiles(all: readonly number[]): string {
  const sorted = all.toSorted((a, b) => a - b);
  const at = (share: number): string => told(sorted[Math.ceil(share * sorted.length) - 1] ?? NaN);
  return `median ${at(0.5)}, p99 ${at(0.99)}, longest ${at(1)}`;
}

const told = (ms: number): string => (ms < 1_000 ? `${ms} ms` : seconds(ms));

function split<T>(all: readonly T[], is: (one: T) => boolean): [yes: T[], no: T[]] {
  return [all.filter(is), all.filter((one) => !is(one))];
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`;
