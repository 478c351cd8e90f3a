import { until } from '../support/until.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

it('a lease that is lost aborts its run at once, and the outcome is discarded', async () => {
  const worker = await world.worker({ worker: { leaseMs: 2_000 } });
  const [heeding, deaf, kept] = await world.create('wait', 'sleep:3000', 'sleep:3000');
  const stolen = [heeding!, deaf!];
  for (const job of [...stolen, kept!]) await worker.started(job);
  // Another worker gets two of the jobs, as after a long pause of this process.
  for (const job of stolen) await world.steal(job);
  for (const { jobId } of stolen) await worker.next('aborted', (event) => event.jobId === jobId);
  // The signal comes at once: the handler that ignores it is still at work.
  expect(worker.all('ended')).toEqual([]);

  await worker.next('ended', (event) => event.jobId === deaf!.jobId);
  expect(await world.final(kept!)).toMatchObject({ status: 'completed', attempts: 1 });
  // The test may see the commit before the worker gets the reply to it.
  await until(async () => (await worker.stats()).running.jobs === 0);
  expect((await worker.stats()).counts).toMatchObject({
    'jobs.completed': 1,
    'jobs.lost': 2,
    'jobs.failed': 0,
    'jobs.retried': 0,
  });
  for (const job of stolen) {
    const held = { status: 'processing', runNumber: 2, workerId: 'thief' };
    expect(await world.job(job)).toMatchObject(held);
    expect(await world.notifications(job)).toEqual([]);
  }
});
