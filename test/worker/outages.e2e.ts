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
    'by a %s stop: the workers wait, and log the outage once',
    async (mode) => {
      const worker = await world.worker({ worker: { listen: true } });
      const jobs = await world.create('sleep:1000', 'write:1000', 'flaky:1');
      for (const job of jobs) await worker.started(job);
      await server.control('stop', mode);
      // Meanwhile, handlers end, and many polls and extensions fail.
      await sleep(7_000);
      expect((await worker.stats()).database).toBe('down');
      expect(worker.hasEnded).toBe(false);
      await server.control('start');
      const [slept, wrote, flaky] = await Promise.all(jobs.map((job) => world.final(job)));
      expect(slept).toMatchObject({ status: JobStatus.COMPLETED, attempts: 1 });
      expect(wrote).toMatchObject({ status: JobStatus.COMPLETED, attempts: 1 });
      expect(flaky).toMatchObject({ status: JobStatus.COMPLETED, attempts: 2 });
      expect(await world.ownWrites(wrote!)).toEqual([{ runNumber: 1 }]);
      // The workers do the work from before the outage, and new work too.
      const [later] = await world.create('sleep:0');
      expect(await world.final(later!)).toMatchObject({ status: JobStatus.COMPLETED });
      await until(async () => (await worker.stats()).database === 'up');
      const told = worker
        .logged('warn')
        .filter((text) => text.includes('is tried again until it works'));
      expect(told).toEqual([expect.stringMatching(/ failed, and is tried again until it works: /)]);
      expect(worker.logged('log').filter((text) => text.includes('works again'))).toHaveLength(1);
      expect(worker.logged('error')).toEqual([]);
      worker.kill('SIGTERM');
      expect(await worker.exit).toEqual({ code: null, signal: 'SIGTERM' });
      await world.clear();
    },
  );

  it('does not delay the end of the process', async () => {
    const worker = await world.worker({
      worker: { listen: true, shutdownMs: 500 },
      database: { shutdownTimeoutMs: 500 },
    });
    // The outcome of the first job cannot be recorded, the second is in the middle of its own writes, and the third
    // goes on.
    const jobs = await world.create('sleep:2000', 'write:2000', 'deaf');
    for (const job of jobs) await worker.started(job);
    await server.control('stop', 'fast');
    await sleep(4_000);
    worker.kill('SIGTERM');
    expect(await worker.exit).toEqual({ code: null, signal: 'SIGTERM' });
    await server.control('start');
    await until(async () => (await world.job(jobs[0]!)).status === JobStatus.PROCESSING);
    for (const job of jobs) expect(await world.errors(job)).toEqual([]);
    await world.clear();
  });
});

// A freeze is like a failover: open connections get no answer, and new ones do.
describe('a server that vanishes without closing its connections', () => {
  let world: World;
  let proxy: Proxy;
  beforeEach(async () => {
    world = await World.open();
    proxy = await Proxy.start(world.harness.url);
  });
  afterEach(async () => {
    await world.endWorkers();
    await proxy.stop();
    await world.close();
  });

  it('is given up, and the new server is used, before a lease is lost', async () => {
    // The silence is noticed after two thirds of the lease. The rest is for another connection, on a busy machine too.
    const worker = await world.worker({ worker: { leaseMs: 6_000 } }, proxy.url);
    const [job] = await world.create('sleep:9000');
    await worker.started(job!);
    proxy.freeze();
    const [later] = await world.create('sleep:0');
    expect(await world.final(later!)).toMatchObject({ status: JobStatus.COMPLETED });
    expect(await world.final(job!)).toMatchObject({ status: JobStatus.COMPLETED, attempts: 1 });
    await until(async () => (await worker.stats()).database === 'up');
    expect(worker.all('aborted')).toEqual([]);
    expect(worker.logged('error')).toEqual([]);
  });

  it('is replaced as the source of notifications', async () => {
    // There are no polls, so a job starts only after a NOTIFY.
    const options = { leaseMs: 1_000, pollMs: 2 ** 30, listen: true };
    const worker = await world.worker({ worker: options }, proxy.url);
    await idle(world);
    proxy.freeze();
    const [job] = await world.create('sleep:0');
    await until(() => worker.logged('warn').length > 0);
    expect(await world.final(job!)).toMatchObject({ status: JobStatus.COMPLETED });
  });

  it('does not delay the end of the process', async () => {
    const options = { leaseMs: 1_000, shutdownMs: 500, listen: true };
    const database = { shutdownTimeoutMs: 500 };
    const worker = await world.worker({ worker: options, database }, proxy.url);
    const [job] = await world.create('deaf');
    await worker.started(job!);
    proxy.freeze();
    worker.kill('SIGTERM');
    expect(await worker.exit).toEqual({ code: null, signal: 'SIGTERM' });
  });
});

/** Waits until the connections of a worker are idle. */
async function idle(world: World): Promise<void> {
  await sleep(500);
  await until(async () => {
    const rows = await world.harness.dataSource.query<unknown[]>(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND state <> 'idle'`,
    );
    return rows.length === 0;
  });
}
