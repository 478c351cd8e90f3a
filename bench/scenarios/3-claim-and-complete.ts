import type { Scenario } from '../harness/scenario.ts';
import { callsPerSecond } from '../harness/turns.ts';
import { claimingByFloor, claimingByService, found } from '../subjects/claiming.ts';
import { randomUsers, RESULT } from '../subjects/fixtures.ts';
import * as floor from '../subjects/floor.ts';
import * as frameForge from '../subjects/frameforge.ts';
import { fillPgBoss, openPgBoss, QUEUE } from '../subjects/pg-boss.ts';

export const claimAndComplete: Scenario = {
  row: 3,
  title: 'claim one job, complete it with its notification',
  unit: 'jobs/s',
  requirements: [
    { subject: 'this package', against: 'floor', atLeast: 0.85 },
    { subject: 'this package', against: 'pg-boss', atLeast: 1.3 },
  ],
  async open(bench) {
    const { turnMs, claimBacklog } = bench.profile;
    const own = await frameForge.openFrameForge(bench);
    const bare = await floor.openFloor(bench);
    const { url, boss } = await openPgBoss(bench);
    const users = randomUsers(bench.profile.users);
    return {
      subjects: [
        {
          name: 'this package',
          how: `${frameForge.HOW}: \`claimJobs({ limit: 1 })\`, a statement each, and \`completeJob\`, whose calls at the same time share statements`,
          ...claimingByService(bench, own),
        },
        { name: 'floor', how: floor.HOW, ...claimingByFloor(bench, bare) },
        {
          name: 'pg-boss',
          how: '`fetch(queue)`, `complete(queue, id, output)`; it writes no notification',
          prepare: () => fillPgBoss(url, boss, users, claimBacklog),
          measure: () =>
            callsPerSecond(turnMs, async () => {
              const { id } = found(await boss.fetch(QUEUE));
              await boss.complete(QUEUE, id, RESULT);
            }),
        },
      ],
    };
  },
};
