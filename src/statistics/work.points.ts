import { percentile } from './histogram.js';
import type { Times, WorkPoint } from './statistics.types.js';

/** The work of all workers in a step of time, added up by the database. */
export interface WorkRow {
  /** The begin of the step, in seconds since 1970. */
  readonly at: number;
  /** How many reports are in the sum. */
  readonly reports: number;
  readonly completed: number;
  readonly failed: number;
  readonly retried: number;
  readonly delivered: number;
  readonly undelivered: number;
  readonly waitedMs: number;
  readonly ranMs: number;
  readonly waitedHistogram: readonly number[];
  readonly ranHistogram: readonly number[];
}

function timesOf(sumMs: number, histogram: readonly number[]): Times {
  const count = histogram.reduce((sum, each) => sum + each, 0);
  return {
    mean: count === 0 ? null : sumMs / count,
    median: percentile(histogram, 0.5),
    p95: percentile(histogram, 0.95),
  };
}

/**
 * Makes a point of a row.
 *
 * @param row - undefined if no worker reported anything
 * @param share - the factor for the numbers of the row, if it has only some minutes of the step
 */
export function toPoint(atMs: number, row: WorkRow | undefined, share = 1): WorkPoint {
  const all = (count = 0): number => Math.round(count * share);
  return {
    at: new Date(atMs),
    completed: all(row?.completed),
    failed: all(row?.failed),
    retried: all(row?.retried),
    delivered: all(row?.delivered),
    undelivered: all(row?.undelivered),
    waited: timesOf(row?.waitedMs ?? 0, row?.waitedHistogram ?? []),
    ran: timesOf(row?.ranMs ?? 0, row?.ranHistogram ?? []),
    isEstimated: share > 1,
  };
}

/** Adds several rows to one. */
export function sumOf(rows: readonly WorkRow[]): WorkRow | undefined {
  const [first, ...others] = rows;
  if (first === undefined) return undefined;
  return others.reduce<WorkRow>(
    (a, b) => ({
      at: a.at,
      reports: a.reports + b.reports,
      completed: a.completed + b.completed,
      failed: a.failed + b.failed,
      retried: a.retried + b.retried,
      delivered: a.delivered + b.delivered,
      undelivered: a.undelivered + b.undelivered,
      waitedMs: a.waitedMs + b.waitedMs,
      ranMs: a.ranMs + b.ranMs,
      waitedHistogram: a.waitedHistogram.map((n, i) => n + (b.waitedHistogram[i] ?? 0)),
      ranHistogram: a.ranHistogram.map((n, i) => n + (b.ranHistogram[i] ?? 0)),
    }),
    first,
  );
}
