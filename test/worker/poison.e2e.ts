import type { WorkerConfig } from './worker.process.js';
import { WorkerProcess } from './worker.process.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

/** Replaces a worker that has ended, as an orchestrator does. */
class Supervisor {
  ends = 0;
  private stopped = false;
  private worker: WorkerProcess | undefined;

  async run(config: Omit<WorkerConfig, 'url'>): Promise<void> {
    while (!this.stopped) {
      this.worker = new WorkerProcess({ url: world.harness.url, ...config });
      await this.worker.exit;
      if (!this.stopped) this.ends += 1;
    }
  }

  stop(): void {
    this.stopped = true;
    this.worker?.kill('SIGKILL');
  }
}

it.each(['kill:0', 'exit:0'])(
  'a job that ends its worker each time (%s) fails after maxAttempts, and others go on',
  async (filename) => {
    const config = { worker: { leaseMs: 1_000, maxAttempts: 3 } };
    const [poison] = await world.create(filename);
    const others = await world.create('sleep:50', 'flaky:1', 'sleep:50');
    const supervisor = new Supervisor();
    const supervised = supervisor.run(config);
    expect(await world.final(poison!)).toMatchObject({
      status: 'failed',
      attempts: 3,
      runNumber: 3,
      errorMessage: 'Gave up after attempt 3: its worker was lost.',
    });
    for (const job of others) {
      expect(await world.final(job)).toMatchObject({ status: 'completed' });
    }
    supervisor.stop();
    await supervised;
    expect(supervisor.ends).toBe(3);
    expect(await world.notifications(poison!)).toEqual([
      expect.objectContaining({ notificationType: 'failure', runNumber: 3 }),
    ]);
    const lost = expect.stringMatching(/^The worker was lost: /);
    expect(await world.errors(poison!)).toEqual([lost, lost, lost]);
  },
);
