import type { SqlRunner } from '../sql/sql.runner.js';
import { work } from './statistics.sql.js';
import type { WorkPoint } from './statistics.types.js';
import { sumOf, toPoint } from './work.points.js';
import type { WorkRow } from './work.points.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const HOURS = 7 * 24;
/** A worker whose database was away reports what it did then later: an hour is over for good after this time. */
const SETTLED_MS = 10 * MINUTE_MS;
/** How many statements read hours at the same time. */
const AT_ONCE = 2;

/**
 * What all workers did, by the minute and by the hour. A week of many workers is more rows than one statement
 * may read: each hour is read by itself, and kept once it is over.
 */
export class WorkHistory {
  private readonly kept = new Map<number, WorkPoint>();

  constructor(private readonly db: SqlRunner) {}

  /** @returns a point for each of the last 60 minutes, and all of them together */
  async lastHour(now: Date): Promise<{ points: WorkPoint[]; hour: WorkPoint }> {
    const end = Math.floor(now.getTime() / MINUTE_MS) * MINUTE_MS + MINUTE_MS;
    const start = end - HOUR_MS;
    const rows = await this.read(start, end, MINUTE_MS);
    const points = Array.from({ length: HOUR_MS / MINUTE_MS }, (_, minute) => {
      const at = start + minute * MINUTE_MS;
      return toPoint(
        at,
        rows.find((row) => row.at * 1_000 === at),
      );
    });
    return { points, hour: toPoint(start, sumOf(rows)) };
  }

  /** @returns a point for each of the last 168 hours */
  async lastWeek(now: Date): Promise<WorkPoint[]> {
    const current = Math.floor(now.getTime() / HOUR_MS) * HOUR_MS;
    const hours = Array.from({ length: HOURS }, (_, i) => current - (HOURS - 1 - i) * HOUR_MS);
    for (const hour of this.kept.keys()) if (hour < (hours[0] ?? 0)) this.kept.delete(hour);
    const points = new Map(this.kept);
    const missing = hours.filter((hour) => !points.has(hour));
    const readNext = async (): Promise<void> => {
      for (let hour = missing.shift(); hour !== undefined; hour = missing.shift()) {
        const [row] = await this.read(hour, hour + HOUR_MS, HOUR_MS);
        const point = toPoint(hour, row);
        points.set(hour, point);
        if (hour + HOUR_MS + SETTLED_MS < now.getTime()) this.kept.set(hour, point);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, readNext));
    return hours.flatMap((hour) => points.get(hour) ?? []);
  }

  private read(from: number, to: number, stepMs: number): Promise<WorkRow[]> {
    const values = [new Date(from).toISOString(), new Date(to).toISOString(), stepMs / 1_000];
    return this.db.run<WorkRow>('JobStatistics', work, values);
  }
}
