import type { Logger } from '@nestjs/common';
import { canHeal } from '../connection/healing.js';
import { reasonOf } from '../errors.text.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import { Durations } from './durations.js';
import type { Telemetry } from './telemetry.js';
import { databaseTime, removeOldReports, writeReports } from './worker.report.sql.js';

/** How often the report of the current minute is written, in ms. */
const REPORT_MS = 15_000;
const MINUTE_MS = 60_000;
/** How many minutes are kept while the database cannot be reached; older ones are added to the next minute. */
const MAX_MINUTES = 60;
/** How long reports are kept, in days: longer than the week that the console shows. */
const KEPT_DAYS = 8;
/** How many old reports one statement removes. */
const REMOVED_AT_ONCE = 1_000;
/** How often, in ms, a worker removes old reports. Each waits for half to one and a half of it. */
const REMOVE_MS = 3_600_000;
/** How long, in ms, the last report may take. */
const LAST_REPORT_MS = 1_000;

/** The present load of a worker. */
export interface WorkerLoad {
  /** How many jobs it can run at once. */
  readonly places: number;
  readonly running: number;
}

/** What a worker did in one minute. */
interface MinuteReport extends WorkerLoad {
  readonly minute: number;
  readonly counts: Record<Figure, number>;
  readonly waited: Durations;
  readonly ran: Durations;
}

type Figure = 'completed' | 'failed' | 'retried' | 'delivered' | 'undelivered';

/**
 * Writes what this worker does into `worker_reports`: one row for each minute, which is kept for eight days.
 * It reads counters that exist anyway, a few times a minute, so it costs the handlers nothing. A report that
 * cannot be written is written later. Nothing else waits for it.
 */
export class WorkerReporter {
  private readonly minutes: MinuteReport[] = [];
  private timer: NodeJS.Timeout | undefined;
  private writing: Promise<void> | undefined;
  private startedAt: Date | undefined;
  /** How far the database's clock is ahead of this one, in ms. */
  private ahead = 0;
  private since = 0;
  private before: Record<Figure, number>;
  private nextRemoval = 0;
  private warned: string | undefined;
  private stopped = false;

  constructor(
    private readonly db: SqlRunner,
    private readonly workerId: string,
    private readonly telemetry: Telemetry,
    private readonly load: () => WorkerLoad,
    private readonly logger: Logger,
  ) {
    this.before = figuresOf(telemetry);
  }

  start(): void {
    this.since = Date.now();
    void this.report();
  }

  /** Writes the last report, if the database takes it at once. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    let patience: NodeJS.Timeout | undefined;
    const over = new Promise<void>((resolve) => {
      patience = setTimeout(resolve, LAST_REPORT_MS);
    });
    const last = (this.writing ?? Promise.resolve()).then(() => this.report());
    await Promise.race([last, over]).finally(() => clearTimeout(patience));
  }

  private report(): Promise<void> {
    this.writing = this.write().then(() => {
      this.writing = undefined;
      if (this.stopped) return;
      // The last report of a minute is written when it ends.
      const inMinute = (Date.now() + this.ahead) % MINUTE_MS;
      const wait = Math.min(REPORT_MS, MINUTE_MS - inMinute);
      this.timer = setTimeout(() => void this.report(), wait);
      this.timer.unref();
    });
    return this.writing;
  }

  /** Never rejects. */
  private async write(): Promise<void> {
    try {
      if (this.startedAt === undefined) {
        const [row] = await this.db.run<{ now: Date }>('worker report', databaseTime, []);
        this.startedAt = row?.now ?? new Date();
        this.setClock(this.startedAt);
        this.since += this.ahead;
      }
      this.collect();
      const reports = this.minutes.map(rowOf);
      const values = [this.workerId, this.startedAt.toISOString(), JSON.stringify(reports)];
      const [row] = await this.db.run<{ now: Date }>('worker report', writeReports, values);
      if (row !== undefined) this.setClock(row.now);
      this.minutes.splice(0, reports.length - 1);
      await this.removeOld();
      this.warned = undefined;
    } catch (error) {
      // Claims already log an outage. This warning is for lasting problems, such as a missing right.
      if (canHeal(error)) return;
      const reason = reasonOf(error);
      if (this.warned !== reason && !this.stopped) {
        this.logger.warn(
          `This worker could not write its report into worker_reports, and tries again: ${reason}`,
        );
      }
      this.warned = reason;
    }
  }

  private setClock(now: Date): void {
    this.ahead = now.getTime() - Date.now();
  }

  /** Adds the counts since the last call to the minute in which they happened. */
  private collect(): void {
    const minute = Math.floor(this.since / MINUTE_MS) * MINUTE_MS;
    this.since = Math.max(this.since, Date.now() + this.ahead);
    const now = figuresOf(this.telemetry);
    const counts = { ...now };
    for (const figure of FIGURES) counts[figure] -= this.before[figure];
    this.before = now;
    const { waited, ran } = this.telemetry;
    this.add({ minute, ...this.load(), counts, waited: waited.take(), ran: ran.take() });
    const [oldest] = this.minutes.length > MAX_MINUTES ? this.minutes.splice(0, 1) : [];
    const [next] = this.minutes;
    if (oldest !== undefined && next !== undefined) this.minutes[0] = sum(oldest, next);
  }

  private add(report: MinuteReport): void {
    const last = this.minutes.at(-1);
    if (last?.minute === report.minute) this.minutes.splice(-1, 1, sum(last, report));
    else this.minutes.push(report);
  }

  private async removeOld(): Promise<void> {
    if (Date.now() < this.nextRemoval || this.stopped) return;
    const removed = await this.db.run('worker report', removeOldReports, [
      KEPT_DAYS,
      REMOVED_AT_ONCE,
    ]);
    if (removed.length === REMOVED_AT_ONCE) return;
    this.nextRemoval = Date.now() + REMOVE_MS * (0.5 + Math.random());
  }
}

const FIGURES: readonly Figure[] = ['completed', 'failed', 'retried', 'delivered', 'undelivered'];

const figuresOf = ({ counts }: Telemetry): Record<Figure, number> => ({
  completed: counts['jobs.completed'],
  failed: counts['jobs.failed'],
  retried: counts['jobs.retried'],
  delivered: counts['deliveries.sent'],
  undelivered: counts['deliveries.failed'] + counts['deliveries.retried'],
});

/** Adds up two reports. The sum has the minute and the load of the later one. */
function sum(earlier: MinuteReport, later: MinuteReport): MinuteReport {
  const counts = { ...later.counts };
  for (const figure of FIGURES) counts[figure] += earlier.counts[figure];
  later.waited.add(earlier.waited);
  later.ran.add(earlier.ran);
  return { ...later, counts };
}

const rowOf = ({ minute, places, running, counts, waited, ran }: MinuteReport): object => ({
  minute: new Date(minute).toISOString(),
  places,
  running,
  ...counts,
  waitedMs: waited.sumMs,
  waitedHistogram: waited.histogram,
  ranMs: ran.sumMs,
  ranHistogram: ran.histogram,
});
