import { Logger } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { JobService } from '../../src/jobs/job.service.js';
import { frameForgeEntities } from '../../src/schema/entities/index.js';
import { OutageWatch } from '../../src/worker/outage.watch.js';
import { openOwnConnections } from '../../src/worker/own-connections.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

it('do without the replicas of the application, and make no extensions', async () => {
  const { url } = world.harness;
  const nowhere = new URL(url);
  nowhere.port = '1';
  const of = new DataSource({
    type: 'postgres',
    replication: { master: { url }, slaves: [{ url: nowhere.href }] },
    entities: frameForgeEntities,
    extensions: ['hstore'],
  });
  const connecting = new OutageWatch(new Logger()).activity('Connecting');
  const own = await openOwnConnections(of, 3_000, connecting);
  try {
    const [job] = await world.create('a');
    expect(await new JobService(own).getJob(job!.jobId)).toMatchObject({ filename: 'a' });
    const made = await own.query<object[]>(`SELECT FROM pg_extension WHERE extname <> 'plpgsql'`);
    expect(made).toEqual([]);
  } finally {
    await own.destroy();
  }
});
