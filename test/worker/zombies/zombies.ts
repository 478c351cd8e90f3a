import { assert, asyncProperty } from 'fast-check';
import { Lane } from './lane.js';
import type { Tally } from './lane.js';
import { schedules } from './schedule.js';

/** Lanes play at the same time, each on a database of its own. */
const LANES = 4;

/**
 * Plays generated schedules of stalls, steals and late writes.
 *
 * @throws if one ends otherwise than by the rules, with the smallest such schedule and its seed
 */
export async function playSchedules(count: number, seed: number): Promise<Tally> {
  const lanes = await Promise.all(Array.from({ length: LANES }, () => Lane.open()));
  try {
    const played = lanes.map((lane, index) =>
      assert(
        asyncProperty(schedules, (schedule) => lane.play(schedule)),
        { numRuns: Math.ceil(count / LANES), seed: seed + index, includeErrorInReport: true },
      ),
    );
    const failed = (await Promise.allSettled(played)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  } finally {
    await Promise.all(lanes.map((lane) => lane.close()));
  }
  const total: Tally = { schedules: 0, claims: 0, steals: 0, lateWrites: 0, writes: 0 };
  for (const { tally } of lanes) {
    for (const key of Object.keys(total) as (keyof Tally)[]) total[key] += tally[key];
  }
  return total;
}
