import type { Scenario } from '../harness/scenario.ts';
import { callsPerSecond } from '../harness/turns.ts';
import { openBullMq } from '../subjects/bullmq.ts';
import { randomUsers, videoOf } from '../subjects/fixtures.ts';
import * as floor from '../subjects/floor.ts';
import * as frameForge from '../subjects/frameforge.ts';
import { openGraphile, TASK } from '../subjects/graphile.ts';
import { openPgBoss, QUEUE } from '../subjects/pg-boss.ts';
import * as typeOrm from '../subjects/type-orm.ts';

export const createJob: Scenario = {
  row: 1,
  title: '`createJob`, one at a time per connection',
  unit: 'jobs/s',
  requirements: [
    { subject: 'this package', against: 'floor', atLeast: 0.85 },
    { subject: 'this package', against: 'TypeORM', atLeast: 2 },
    { subject: 'this package', against: 'pg-boss', atLeast: 3 },
    { subject: 'this package', against: 'graphile-worker', atLeast: 4 },
    { subject: 'this package', against: 'BullMQ', atLeast: 5 },
  ],
  async open(bench) {
    const own = await frameForge.openFrameForge(bench);
    const bare = await floor.openFloor(bench);
    const orm = await typeOrm.openTypeOrm(bench);
    const { boss } = await openPgBoss(bench);
    const graphile = await openGraphile(bench);
    const bullMq = await openBullMq(bench);
    const users = randomUsers(bench.profile.users);
    const turn = (call: (connection: number) => Promise<unknown>) => (): Promise<number> =>
      callsPerSecond(bench.profile.turnMs, call);
    return {
      subjects: [
        {
          name: 'this package',
          how: `${frameForge.HOW}; calls at the same time share statements`,
          measure: turn(() => own.jobs.createJob(videoOf(own.users))),
        },
        {
          name: 'floor',
          how: floor.HOW,
          measure: turn((connection) => bare.createJob(connection, videoOf(bare.users))),
        },
        { name: 'TypeORM', how: typeOrm.HOW, measure: turn(() => orm.save(videoOf(orm.users))) },
        {
          name: 'pg-boss',
          how: '`send(queue, data)`',
          measure: turn(() => boss.send(QUEUE, videoOf(users))),
        },
        {
          name: 'graphile-worker',
          how: '`addJob(task, payload)` of worker utils that live as long as the process',
          measure: turn(() => graphile.utils.addJob(TASK, { ...videoOf(users) })),
        },
        {
          name: 'BullMQ',
          how: '`add(name, data)` of a queue on its backend for PostgreSQL',
          measure: turn(() => bullMq.add(videoOf(users))),
        },
      ],
    };
  },
};
