import { Logger } from '@nestjs/common';
import { JobService } from '../../src/jobs/job.service.js';
import { poolsOf } from '../../src/peers/typeorm.internals.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { OutageWatch } from '../../src/worker/outage.watch.js';
import { openLeasePool } from '../../src/worker/lease.pool.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

it('the lease pool works while the pool of the application is full', async () => {
  const { dataSource } = world.harness;
  const connecting = new OutageWatch(new Logger()).activity('Connecting');
  const own = await openLeasePool(dataSource, 3_000, connecting);
  const [primary] = poolsOf(dataSource);
  const holders = Array.from({ length: primary!.options.max }, () =>
    dataSource.createQueryRunner(),
  );
  try {
    // One connection is enough. If the server vanishes, a second idle connection would be lost as well.
    expect(own.totalCount).toBe(1);
    const [job] = await world.create('a');
    await Promise.all(holders.map((holder) => holder.connect()));
    const runner = new SqlRunner(dataSource, true, { pool: own });
    const jobs = new JobService(dataSource, { runner });
    expect(await jobs.getJob(job!.jobId)).toMatchObject({ filename: 'a' });
  } finally {
    await Promise.all(holders.map((holder) => holder.release()));
    await own.end();
  }
});
