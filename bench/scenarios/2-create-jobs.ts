import type { Scenario } from '../harness/scenario.ts';
import { itemsPerSecond } from '../harness/turns.ts';
import { openBullMq } from '../subjects/bullmq.ts';
import { randomUsers, videoOf } from '../subjects/fixtures.ts';
import type { Video } from '../subjects/fixtures.ts';
import * as floor from '../subjects/floor.ts';
import * as frameForge from '../subjects/frameforge.ts';
import { openGraphile, TASK } from '../subjects/graphile.ts';
import { openPgBoss, QUEUE } from '../subjects/pg-boss.ts';
import * as typeOrm from '../subjects/type-orm.ts';

export const createJobs: Scenario = {
  row: 2,
  title: '`createJobs`, 10,000 rows in a call',
  unit: 'jobs/s',
  requirements: [
    { subject: 'this package', against: 'floor', atLeast: 0.85 },
    { subject: 'this package', against: 'pg-boss', atLeast: 1.3 },
    { subject: 'this package', against: 'BullMQ', atLeast: 1.4 },
  ],
  async open(bench) {
    const rows = bench.profile.batchRows;
    const own = await frameForge.openFrameForge(bench);
    const bare = await floor.openFloor(bench);
    const barest = await floor.openBareFloor(bench);
    const orm = await typeOrm.openTypeOrm(bench);
    const { boss } = await openPgBoss(bench);
    const graphile = await openGraphile(bench);
    const bullMq = await openBullMq(bench);
    const users = randomUsers(bench.profile.users);

    /** Makes the videos before the time is measured. */
    const turn = (from: readonly string[], call: (videos: Video[]) => Promise<unknown>) => {
      return (): Promise<number> => {
        const videos = Array.from({ length: rows }, () => videoOf(from));
        return itemsPerSecond(rows, () => call(videos));
      };
    };
    const byFloor = (on: floor.Floor) => turn(on.users, (videos) => on.createJobs(0, videos));
    return {
      subjects: [
        {
          name: 'this package',
          how: frameForge.HOW,
          measure: turn(own.users, (videos) => own.jobs.createJobs(videos)),
        },
        { name: 'floor', how: floor.HOW, measure: byFloor(bare) },
        { name: 'floor, bare tables', how: floor.BARE_HOW, measure: byFloor(barest) },
        {
          name: 'TypeORM',
          how: `${typeOrm.HOW}, in chunks of 1,000`,
          measure: turn(orm.users, (videos) => orm.saveAll(videos)),
        },
        {
          name: 'pg-boss',
          how: '`insert(queue, jobs)`, which returns nothing',
          measure: turn(users, (videos) =>
            boss.insert(
              QUEUE,
              videos.map((data) => ({ data })),
            ),
          ),
        },
        {
          name: 'graphile-worker',
          how: '`addJobs(jobs)`',
          measure: turn(users, (videos) =>
            graphile.utils.addJobs(
              videos.map((payload) => ({ identifier: TASK, payload: { ...payload } })),
            ),
          ),
        },
        {
          name: 'BullMQ',
          how: '`addBulk(jobs)` of a queue on its backend for PostgreSQL',
          measure: turn(users, (videos) => bullMq.addAll(videos)),
        },
      ],
    };
  },
};
