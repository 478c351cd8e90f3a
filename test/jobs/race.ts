import type { DataSource } from 'typeorm';
import { FrameForgeError } from '../../src/errors.js';
import { until } from '../support/until.js';

/** Calls a function several times, and returns the results. */
export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));
export const shuffled = <T>(list: readonly T[]): T[] =>
  list
    .map((value) => ({ value, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ value }) => value);
/** Sorts the results of calls into done calls and the codes of refused calls. */
export async function outcomes<T>(calls: Promise<T>[]): Promise<{ done: T[]; refused: string[] }> {
  const done: T[] = [];
  const refused: string[] = [];
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === 'fulfilled') done.push(outcome.value);
    else if (outcome.reason instanceof FrameForgeError) refused.push(outcome.reason.code);
    else throw outcome.reason;
  }
  return { done, refused };
}

/** Waits until this many calls wait for a lock. */
export async function lockWaiters(dataSource: DataSource, count: number): Promise<void> {
  await until(async () => {
    const waiting: unknown[] = await dataSource.query(
      `SELECT pid FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return waiting.length === count;
  });
}

/** Makes calls that all need the row of one job, and unlocks the row when all of them wait for it. */
export async function contending<T>(
  dataSource: DataSource,
  { jobId }: { jobId: string },
  calls: readonly (() => Promise<T>)[],
): Promise<{ done: T[]; refused: string[] }> {
  const outcome = await dataSource.transaction(async (manager) => {
    await manager.query(`SELECT 1 FROM video_jobs WHERE "jobId" = $1 FOR UPDATE`, [jobId]);
    const all = outcomes(calls.map((call) => call()));
    await lockWaiters(dataSource, calls.length);
    return { all };
  });
  return outcome.all;
}
