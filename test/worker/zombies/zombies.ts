import { assert, asyncProperty } from 'fast-check';
import { SchedulePlayer } from './schedule.player.js';
import type { Tally } from './schedule.player.js';
import { schedules } from './schedule.js';

/** How many players play at the same time, each on a database of its own. */
const PLAYERS = 4;

/**
 * Plays generated schedules of stalls, steals and late writes.
 *
 * @throws if a schedule breaks the rules; the error has the smallest such schedule and its seed
 */
export async function playSchedules(count: number, seed: number): Promise<Tally> {
  const players = await Promise.all(Array.from({ length: PLAYERS }, () => SchedulePlayer.open()));
  try {
    const played = players.map((player, index) =>
      assert(
        asyncProperty(schedules, (schedule) => player.play(schedule)),
        { numRuns: Math.ceil(count / PLAYERS), seed: seed + index, includeErrorInReport: true },
      ),
    );
    const failed = (await Promise.allSettled(played)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  } finally {
    await Promise.all(players.map((player) => player.close()));
  }
  const total: Tally = {
    schedules: 0,
    claims: 0,
    steals: 0,
    lateWrites: 0,
    writes: 0,
    limits: 0,
    cancellations: 0,
  };
  for (const { tally } of players) {
    for (const key of Object.keys(total) as (keyof Tally)[]) total[key] += tally[key];
  }
  return total;
}
