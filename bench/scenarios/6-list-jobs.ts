import { median } from '../harness/rounds.ts';
import type { Scenario } from '../harness/scenario.ts';
import { fillFinished, vacuum } from '../subjects/fixtures.ts';
import * as frameForge from '../subjects/frameforge.ts';

/**
 * Users in the table. All have the same number of jobs, and the jobs of a user lie scattered among those of
 * others.
 */
const USERS = 5;

export const listJobs: Scenario = {
  row: 6,
  title: '`listJobs` of a user with 100,000 jobs, 50 a page',
  unit: 'ms',
  requirements: [{ subject: 'page 1,000', against: 'page 1', atMost: 1.2 }],
  async open(bench) {
    const { list } = bench.profile;
    const profile = { ...bench.profile, users: USERS };
    const { url, users, jobs } = await frameForge.openFrameForge({ ...bench, profile });
    await fillFinished(url, list.jobs * USERS);
    await vacuum(url);
    const [userId] = users;
    let cursor: string | null = null;
    for (let page = 1; page < list.page; page += 1) {
      ({ nextCursor: cursor } = await jobs.listJobs({ userId: userId!, cursor }));
    }
    if (cursor === null) throw new Error('The user has not that many pages.');
    const at = (from: string | null) => async (): Promise<number> => {
      const times: number[] = [];
      for (let call = 0; call < list.calls; call += 1) {
        const start = performance.now();
        await jobs.listJobs({ userId: userId!, cursor: from });
        times.push(performance.now() - start);
      }
      return median(times);
    };
    const how = `median of ${list.calls} calls, one after the other`;
    return {
      subjects: [
        { name: 'page 1', how, measure: at(null) },
        { name: 'page 1,000', how, measure: at(cursor) },
      ],
    };
  },
};
