import type { Bench, Scenario, Subject } from '../harness/scenario.ts';
import { format } from '../harness/rounds.ts';
import { claimingByService } from '../subjects/claiming.ts';
import * as frameForge from '../subjects/frameforge.ts';

/** The lowest allowed ratio of the rate in fair order to the rate by age. */
const AT_LEAST = 0.8;

export const fairOrder: Scenario = {
  row: 10,
  title: 'claim one job of 100,000 that are pending, in turn and by age, and complete it',
  unit: 'jobs/s',
  requirements: [
    { subject: 'fair, one user', against: 'age, one user', atLeast: AT_LEAST },
    { subject: 'fair, 10,000 users', against: 'age, 10,000 users', atLeast: AT_LEAST },
  ],
  async open(bench) {
    const { users } = bench.profile.fair;
    return {
      subjects: [
        await claiming(bench, 'age', 1, 'one user'),
        await claiming(bench, 'fair', 1, 'one user'),
        await claiming(bench, 'age', users, '10,000 users'),
        await claiming(bench, 'fair', users, '10,000 users'),
      ],
    };
  },
};

async function claiming(
  bench: Bench,
  order: 'age' | 'fair',
  users: number,
  whose: string,
): Promise<Subject> {
  const on = await frameForge.openFrameForge(bench, users);
  const { pending } = bench.profile.fair;
  return {
    name: `${order}, ${whose}`,
    how: `as in row 3, with \`order: '${order}'\`; ${format(pending)} pending jobs at the beginning of each turn`,
    ...claimingByService(bench, on, { order }, pending),
  };
}
