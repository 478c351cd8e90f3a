import { playSchedules } from './zombies.js';

const SEED = Date.now() % 2 ** 31;

it(`no late write is accepted in 200 schedules (seed ${SEED}; 2,000 by npm run test:e2e)`, async () => {
  const tally = await playSchedules(200, SEED);
  expect(tally.lateWrites).toBeGreaterThan(200);
  expect(tally.steals).toBeGreaterThan(100);
  expect(tally.limits).toBeGreaterThan(20);
  expect(tally.cancellations).toBeGreaterThan(20);
});
