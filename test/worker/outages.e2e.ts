import { setTimeout as sleep } from 'node:timers/promises';
import { JobStatus } from '../../src/schema/entities/index.js';
import { openHarness } from '../support/harness.js';
import { OwnServer } from '../support/own-server.js';
import { Proxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { World } from './world.js';

describe('a database that goes away', () => {
  let server: OwnServer;
  let world: World;
  beforeAll(async () => {
    server = await OwnServer.start();
    const database = { url: server.url, drop: () => server.remove() };
    world = await World.open(await openHarness({}, database));
  });
  afterAll(() => world.close());

  it.each(['fast', 'immediate'] as const)(
    'by a stop that is %s is waited out, and told of once',
    async (mode) => {
      const worker = await world.worker({ worker: { listen: true } });
      const jobs = await world.create('sleep:1000', 'write:1000', 'flaky:1');
      for (const job of jobs) await worker.started(job);
      await server.control('stop', mode);
      // Handlers end meanwhile, and many polls and extensions fail.
      await sleep(7_000);
      expect((await worker.stats()).database).toBe('down');
      expect(worker.hasEnded).toBe(false);
      await server.control('start');
      const [slept, wrote, flaky] = await Promise.all(jobs.map((job) => world.final(job)));
      expect(slept).toMatchObject({ status: JobStatus.COMPLETED, attempts: 1 });
      expect(wrote).toMatchObject({ status: JobStatus.COMPLETED, attempts: 1 });
      expect(flaky).toMatchObject({ status: JobStatus.COMPLETED, attempts: 2 });
      expect(await world.ownWrites(wrote!)).toEqual([{ runNumber: 1 }]);
      // What was there before the outage is not all: new work is done, too.
      const [later] = await world.create('sleep:0');
      expect(await world.final(later!)).toMatchObject({ status: JobStatus.COMPLETED });
      await until(async () => (await worker.stats()).database === 'up');
      const told = worker.logged('warn').filter((text) => text.includes('does not work'));
      expect(told).toEqual([expect.stringMatching(/ does not work, and is tried until it does: /)]);
      expect(worker.logged('log').filter((text) => text.includes('works again'))).toHaveLength(1);
      expect(worker.logged('error')).toEqual([]);
      worker.kill('SIGTERM');
      expect(await worker.exit).toEqual({ code: null, signal: 'SIGTERM' });
      await world.clear();
    },
  );
});

it('a server that vanishes without a goodbye is given up, and its successor is used', async () => {
  const world = await World.open();
  const proxy = await Proxy.start(world.harness.url);
  try {
    const worker = await world.worker({ worker: { leaseMs: 3_000 } }, proxy.url);
    const [job] = await world.create('stuck:1');
    await worker.started(job!);
    // From here on the connections that are open get no answer, and new ones do: a failover.
    proxy.freeze();
    const [later] = await world.create('sleep:0');
    expect(await world.final(later!)).toMatchObject({ status: JobStatus.COMPLETED });
    expect(await world.final(job!)).toMatchObject({ status: JobStatus.COMPLETED });
    await until(async () => (await worker.stats()).database === 'up');
    expect(worker.logged('error')).toEqual([]);
  } finally {
    await world.close();
    await proxy.stop();
  }
});
