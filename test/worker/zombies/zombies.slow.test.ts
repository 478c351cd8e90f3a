import { playSchedules } from './zombies.js';

const SEED = Date.now() % 2 ** 31;

it(`no late write is accepted in 200 schedules (seed ${SEED}; 2,000 by npm run test:e2e)`, async () => {
  const tally = await playSchedules(200, SEED);
  // The schedules are random. On average there are 260 late writes, 160 steals, 40 limits and 90 cancellations.
  expect(tally.lateWrites).toBeGreaterThan(100);
  expect(tally.steals).toBeGreaterThan(50);
  expect(tally.limits).toBeGreaterThan(5);
  expect(tally.cancellations).toBeGreaterThan(20);
});
