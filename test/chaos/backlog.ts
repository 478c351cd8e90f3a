import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { RATE } from './settings.js';

/** The time between two counts, in ms. */
const LOOK_MS = 100;
/**
 * Follows how many jobs are due. If workers have free places and many jobs are due, the workers claim too slowly: an
 * idle worker finds a new job at its next poll, in less than a second.
 */
export class Backlog {
  private readonly times: number[] = [];
  private watching: Promise<void> | undefined;
  private readonly workers: number[] = [];
  private stopped = false;

  /** @param countWorkers - returns the number of workers at the moment */
  constructor(
    private readonly dataSource: DataSource,
    private readonly countWorkers: () => number,
  ) {}

  /** How many workers there were on average. A killed worker is missing until its replacement has started. */
  get averageWorkers(): number {
    return this.workers.reduce((sum, count) => sum + count, 0) / this.workers.length;
  }

  start(): void {
    this.watching = this.watch();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.watching;
  }

  /** Whether, at any time between these two, more jobs were due than are created in a second. */
  within(from: number, to: number): boolean {
    return this.times.some((at) => at >= from && at <= to);
  }

  private async watch(): Promise<void> {
    while (!this.stopped) {
      this.workers.push(this.countWorkers());
      try {
        const [row] = await this.dataSource.query<{ due: number }[]>(
          `SELECT count(*)::integer AS due FROM video_jobs
           WHERE status IN ('pending', 'processing') AND "availableAt" <= now()`,
        );
        if ((row?.due ?? 0) > RATE) this.times.push(Date.now());
      } catch {
        // The database is away: that is told apart.
      }
      await sleep(LOOK_MS);
    }
  }
}
