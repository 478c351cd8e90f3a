import { MAX_MESSAGE } from '../jobs/control/control.inputs.js';
import { reportProgress } from '../jobs/control/job.progress.js';
import type { SqlRunner } from '../sql/sql.runner.js';
import { storable } from './error-text.js';
import type { Lease, LeaseKeeper } from '../jobs/leases/lease.keeper.js';
import type { Activity } from './outage.watch.js';

/** The least time between two reports of a process, in ms. */
const INTERVAL_MS = 1_000;

interface Progress {
  readonly percent: number;
  readonly message: string | undefined;
}

/**
 * Writes the progress of the handlers of this process. A handler only leaves its latest value here. Once a
 * second one statement writes the values that changed. It uses the connection that extends the leases, and never
 * runs at the same time as an extension. A value that could not be written is written with the next ones.
 */
export class ProgressReporter {
  private readonly latest = new Map<Lease, Progress>();
  private timer: NodeJS.Timeout | undefined;
  private last = -Infinity;
  private isReporting = false;

  /** @param db - on the connection of the keeper */
  constructor(
    private readonly db: SqlRunner,
    private readonly keeper: LeaseKeeper,
    private readonly reporting: Activity,
  ) {}

  /** @param percent - set to the bound if it is outside 0 to 100; if it is not a number, only the message is written */
  report(lease: Lease, percent: number, message?: string): void {
    const before = this.latest.get(lease)?.percent ?? lease.progress?.percent ?? 0;
    const value = Math.floor(Math.min(Math.max(Number(percent), 0), 100));
    this.latest.set(lease, {
      percent: Number.isNaN(value) ? before : value,
      message: message === undefined ? undefined : String(message),
    });
    this.schedule();
  }

  /** Reports nothing more. */
  stop(): void {
    clearTimeout(this.timer);
    this.latest.clear();
  }

  private schedule(waitMs = 0): void {
    if (this.timer !== undefined || this.isReporting || this.latest.size === 0) return;
    const next = Math.max(this.last + INTERVAL_MS - performance.now(), waitMs, 0);
    this.timer = setTimeout(() => void this.send(), next).unref();
  }

  private async send(): Promise<void> {
    this.timer = undefined;
    this.isReporting = true;
    let waitMs = 0;
    try {
      await this.keeper.beside(() => this.sendLatest());
      this.reporting.succeeded();
    } catch (error) {
      waitMs = this.reporting.failed(error);
    } finally {
      this.isReporting = false;
      if (this.latest.size === 0) this.reporting.forget();
      this.schedule(waitMs);
    }
  }

  private async sendLatest(): Promise<void> {
    for (const [lease, progress] of this.latest) {
      if (!isWanted(lease, progress)) this.latest.delete(lease);
    }
    const sent = [...this.latest];
    if (sent.length === 0) return;
    this.last = performance.now();
    const reports = sent.map(([lease, { percent, message }]) => {
      return { job: lease.run, percent, message: messageOf(message) };
    });
    const reported = await reportProgress(this.db, reports);
    const locked = new Set(reported.filter((one) => one.locked).map(({ jobId }) => jobId));
    for (const [lease, progress] of sent) {
      if (locked.has(lease.run.jobId)) continue;
      lease.progress = progress;
      if (this.latest.get(lease) === progress) this.latest.delete(lease);
    }
  }
}

/** Whether the value must be written: the run is at work, its outcome is not being written, and the value is new. */
const isWanted = ({ place, settling, progress }: Lease, { percent, message }: Progress): boolean =>
  place !== -1 &&
  !settling &&
  (progress === undefined || progress.percent !== percent || progress.message !== message);

/** The message in a form that PostgreSQL can store. An empty text counts as no message. */
function messageOf(message: string | undefined): string | undefined {
  if (message === undefined) return undefined;
  const text = [...storable(message)].slice(0, MAX_MESSAGE).join('');
  return text === '' ? undefined : text;
}
