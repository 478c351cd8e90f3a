import { playSchedules } from './zombies.js';

const SEED = Date.now() % 2 ** 31;

it(`no late write is accepted in 2,000 schedules of stalls and steals (seed ${SEED})`, async () => {
  const tally = await playSchedules(2_000, SEED);
  process.stdout.write(`${JSON.stringify(tally)}\n`);
  expect(tally.schedules).toBeGreaterThanOrEqual(2_000);
  // The schedules are random. On average there are 2,750 late writes and 1,700 steals.
  expect(tally.lateWrites).toBeGreaterThan(1_500);
  expect(tally.steals).toBeGreaterThan(1_000);
});
