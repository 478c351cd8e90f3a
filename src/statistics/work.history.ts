import type { SqlRunner } from '../sql/sql.runner.js';
import { REPORTS_READ, work } from './statistics.sql.js';
import type { WorkPoint } from './statistics.types.js';
import { sumOf, toPoint } from './work.points.js';
import type { WorkRow } from './work.points.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const MINUTES = HOUR_MS / MINUTE_MS;
const HOURS = 7 * 24;
/** After this time a minute counts as final. A worker reports its work late if it could not reach the database. */
const SETTLED_MS = 10 * MINUTE_MS;
/** How many statements may read hours at once. */
const AT_ONCE = 2;

/**
 * The work of all workers, by the minute and by the hour. A final time is read once and kept. With more than 333
 * workers, an hour has more reports than one statement may read. Then the last hour is read in parts, and each hour
 * of the week is estimated from some of its minutes.
 */
export class WorkHistory {
  private readonly minutes = new Map<number, WorkRow | undefined>();
  private readonly hours = new Map<number, WorkPoint>();
  /** A statement for hours reads every n-th minute. This is n. */
  private every = 1;

  constructor(private readonly db: SqlRunner) {}

  /** @returns a point for each of the last 60 minutes, and the sum of all */
  async lastHour(now: Date): Promise<{ points: WorkPoint[]; hour: WorkPoint }> {
    const current = Math.floor(now.getTime() / MINUTE_MS) * MINUTE_MS;
    const all = Array.from({ length: MINUTES }, (_, i) => current - (MINUTES - 1 - i) * MINUTE_MS);
    forgetBefore(this.minutes, all[0]);
    const rows = new Map(this.minutes);
    const missing = all.filter((minute) => !rows.has(minute));
    while (missing.length > 0) {
      const part = missing.slice(0, Math.ceil(MINUTES / this.every));
      const found = await this.read(part, MINUTE_MS);
      if (found === undefined) continue;
      missing.splice(0, part.length);
      for (const minute of part) {
        const row = found.find(({ at }) => at * 1_000 === minute);
        rows.set(minute, row);
        if (minute + MINUTE_MS + SETTLED_MS < now.getTime()) this.minutes.set(minute, row);
      }
    }
    const hour = sumOf([...rows.values()].flatMap((row) => row ?? []));
    // The last hour fits into one statement, so every minute can be read again.
    if ((hour?.reports ?? 0) < REPORTS_READ) this.every = 1;
    const points = all.map((minute) => toPoint(minute, rows.get(minute)));
    return { points, hour: toPoint(all[0] ?? current, hour) };
  }

  /** @returns a point for each of the last 168 hours */
  async lastWeek(now: Date): Promise<WorkPoint[]> {
    const current = Math.floor(now.getTime() / HOUR_MS) * HOUR_MS;
    const hours = Array.from({ length: HOURS }, (_, i) => current - (HOURS - 1 - i) * HOUR_MS);
    forgetBefore(this.hours, hours[0]);
    const points = new Map(this.hours);
    const missing = hours.filter((hour) => !points.has(hour));
    const readNext = async (): Promise<void> => {
      for (let hour = missing.shift(); hour !== undefined; hour = missing.shift()) {
        const point = await this.readHour(hour);
        points.set(hour, point);
        if (hour + HOUR_MS + SETTLED_MS < now.getTime()) this.hours.set(hour, point);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, readNext));
    return hours.flatMap((hour) => points.get(hour) ?? []);
  }

  private async readHour(hour: number): Promise<WorkPoint> {
    for (;;) {
      const { every } = this;
      const minutes = Array.from({ length: Math.ceil(MINUTES / every) }, (_, i) => {
        return hour + i * every * MINUTE_MS;
      });
      const found = await this.read(minutes, HOUR_MS);
      if (found !== undefined) return toPoint(hour, found[0], MINUTES / minutes.length);
    }
  }

  /** @returns undefined if there are more reports than one statement may read; the next statement reads fewer minutes */
  private async read(minutes: readonly number[], stepMs: number): Promise<WorkRow[] | undefined> {
    const times = minutes.map((minute) => new Date(minute).toISOString());
    const rows = await this.db.run<WorkRow>('JobStatistics', work, [times, stepMs / 1_000]);
    const reports = rows.reduce((sum, row) => sum + row.reports, 0);
    if (reports < REPORTS_READ || minutes.length === 1) return rows;
    this.every = Math.min(Math.ceil(MINUTES / minutes.length) * 2, MINUTES);
    return undefined;
  }
}

function forgetBefore(kept: Map<number, unknown>, first = 0): void {
  for (const at of kept.keys()) if (at < first) kept.delete(at);
}
