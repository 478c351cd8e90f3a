import type { Bench, Scenario, Subject } from '../harness/scenario.ts';
import { callsPerSecond } from '../harness/turns.ts';
import { claimingByService } from '../subjects/claiming.ts';
import { fillFinished, fillPending, vacuum, videoOf } from '../subjects/fixtures.ts';
import * as frameForge from '../subjects/frameforge.ts';

export const growth: Scenario = {
  row: 5,
  title: 'growth: 5,000,000 finished and 100,000 pending jobs in the table',
  unit: 'jobs/s',
  requirements: [
    { subject: '`createJob`, large table', against: '`createJob`, small table', atLeast: 0.8 },
    {
      subject: 'claim and complete, large table',
      against: 'claim and complete, small table',
      atLeast: 0.8,
    },
  ],
  async open(bench) {
    const { finished, pending } = bench.profile.growth;
    const small = await frameForge.openFrameForge(bench);
    const large = await frameForge.openFrameForge(bench);
    const start = performance.now();
    await fillFinished(large.url, finished);
    await fillPending(large.url, pending);
    await vacuum(large.url);
    bench.say(
      `the large table was filled in ${((performance.now() - start) / 1_000).toFixed(0)} s`,
    );
    return {
      subjects: [
        ...subjectsOn(bench, small, 'small table', 'a new table'),
        ...subjectsOn(bench, large, 'large table', 'the large table'),
      ],
    };
  },
};

function subjectsOn(
  bench: Bench,
  on: frameForge.FrameForge,
  name: string,
  where: string,
): Subject[] {
  return [
    {
      name: `\`createJob\`, ${name}`,
      how: `as in row 1, on ${where}`,
      measure: () =>
        callsPerSecond(bench.profile.turnMs, () => on.jobs.createJob(videoOf(on.users))),
    },
    {
      name: `claim and complete, ${name}`,
      how: `as in row 3, on ${where}`,
      ...claimingByService(bench, on),
    },
  ];
}
