import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

describe('SIGTERM', () => {
  it('lets running handlers finish, claims nothing more, and ends the process cleanly', async () => {
    const worker = await world.worker({ concurrency: 2 });
    const jobs = await world.create('stopping:100', 'stopping:300');
    for (const job of jobs) await worker.started(job);
    jobs.push(...(await world.create('sleep:0')));
    worker.kill('SIGTERM');
    expect(await worker.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(await Promise.all(jobs.map((job) => world.job(job)))).toMatchObject([
      { status: 'completed', attempts: 1 },
      { status: 'completed', attempts: 1 },
      { status: 'pending', attempts: 0, runNumber: 0 },
    ]);
    expect(worker.all('aborted')).toEqual([]);
    expect([...worker.logged('warn'), ...worker.logged('error')]).toEqual([]);
  });

  it('after shutdownMs aborts what still runs, and releases it without counting the attempt', async () => {
    const worker = await world.worker({
      worker: { shutdownMs: 200 },
      database: { shutdownTimeoutMs: 100 },
    });
    // One handler obeys the signal, one does not, and one is in the middle of its own writes.
    const jobs = await world.create('wait', 'deaf', 'write:60000');
    for (const job of jobs) await worker.started(job);
    worker.kill('SIGTERM');
    expect(await worker.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(worker.all('aborted').map(({ reason }) => reason)).toEqual(
      jobs.map(() => 'The process shuts down.'),
    );
    for (const job of jobs) {
      expect(await world.job(job)).toMatchObject({
        status: 'pending',
        attempts: 0,
        runNumber: 1,
        workerId: null,
      });
      expect(await world.errors(job)).toEqual([]);
      expect(await world.ownWrites(job)).toEqual([]);
    }
    expect(worker.logged('error')).toEqual([]);
  });
});
