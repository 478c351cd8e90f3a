import type { PgPool } from '../../src/peers/pg.internals.js';
import { poolsOf } from '../../src/peers/typeorm.internals.js';
import { checkOut, giveBack } from '../../src/sql/checkout.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

/** The number of calls. The stack would overflow if each call made it deeper. */
const CALLS = 10_000;

let h: Harness;
beforeEach(async () => {
  h = await openHarness({ poolSize: 1 });
});
afterEach(() => h.close());

it('serves the next call after thousands of calls have given up while all connections were in use', async () => {
  const [pool] = poolsOf(h.dataSource) as [PgPool];
  const held = await checkOut('the test', pool, h.dataSource, 60_000);
  const calls = Array.from({ length: CALLS }, () => checkOut('late', pool, h.dataSource, 10));
  const outcomes = await Promise.allSettled(calls);
  expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(CALLS);

  // The calls end before a connection is free, because that may never happen.
  expect(pool.waitingCount).toBe(0);

  const next = checkOut('the next', pool, h.dataSource, 60_000);
  giveBack(held, false);
  giveBack(await next, false);
});
