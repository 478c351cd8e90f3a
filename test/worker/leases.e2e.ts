import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../support/until.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

it('the jobs of a killed worker are claimed by another when their leases end', async () => {
  const leaseMs = 4_000;
  const killed = await world.worker({ worker: { leaseMs } });
  const jobs = await world.create('stuck:1', 'stuck:1', 'stuck:1');
  for (const job of jobs) await killed.started(job);
  const other = await world.worker({ worker: { leaseMs } });
  // By then, each lease has been extended at least once.
  await sleep(leaseMs / 2);
  expect(other.all('started')).toEqual([]);
  const killedAt = Date.now();
  killed.kill('SIGKILL');
  for (const job of jobs) {
    // The documented time is the lease and one second. `npm run chaos` measures it with more kills.
    const { at } = await other.started(job);
    process.stdout.write(`claimed ${at - killedAt} ms after the kill, at a lease of ${leaseMs}\n`);
    expect(await world.final(job)).toMatchObject({ status: 'completed', attempts: 2 });
    expect(await world.errors(job)).toEqual([expect.stringMatching(/^The worker was lost: /)]);
  }
});

it('an event loop that is blocked for 2 s loses no lease', async () => {
  // A block may begin just before an extension is due, at a third of the lease. The rest is for a busy machine.
  const worker = { leaseMs: 5_000, pollMs: 50 };
  const blocked = await world.worker({ worker });
  const jobs = await world.create('sleep:6000', 'sleep:6500');
  for (const job of jobs) await blocked.started(job);
  const thief = await world.worker({ worker });
  // The event loop is blocked twice, at different times between two extensions.
  blocked.ask({ type: 'block', ms: 2_000 });
  await sleep(2_700);
  blocked.ask({ type: 'block', ms: 2_000 });
  for (const job of jobs) {
    expect(await world.final(job)).toMatchObject({ status: 'completed', attempts: 1 });
  }
  expect(blocked.all('aborted')).toEqual([]);
  expect(thief.all('started')).toEqual([]);
});

it('slow transactions endanger no lease, even if they use all connections of the pool', async () => {
  const leaseMs = 2_000;
  const slow = await world.worker({
    concurrency: 4,
    database: { poolSize: 2 },
    worker: { leaseMs },
  });
  const others = await world.create('sleep:6000', 'sleep:6000');
  for (const job of others) await slow.started(job);
  const writing = await world.create('write:5000', 'write:5000');
  for (const job of writing) await slow.started(job);
  await until(async () => {
    const [row] = await world.harness.dataSource.query<{ open: number }[]>(
      `SELECT count(*)::integer AS open FROM pg_stat_activity
       WHERE datname = current_database() AND state = 'idle in transaction'`,
    );
    return row?.open === 2;
  });
  const thief = await world.worker({ worker: { leaseMs, pollMs: 50 } });
  for (const job of [...writing, ...others]) {
    expect(await world.final(job)).toMatchObject({ status: 'completed', attempts: 1 });
  }
  for (const job of writing) expect(await world.ownWrites(job)).toEqual([{ runNumber: 1 }]);
  expect(slow.all('aborted')).toEqual([]);
  expect(thief.all('started')).toEqual([]);
});
