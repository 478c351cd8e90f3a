import { setTimeout as sleep } from 'node:timers/promises';
import { OWN } from '../harness/build.ts';
import { median } from '../harness/rounds.ts';
import type { Bench, Scenario, Series, Subject } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { createMigratedDatabase, startWorker } from '../subjects/frameforge.ts';

const CONCURRENCY = 4;

/** When jobs were created, in s, and how long they waited until they were started, in s. */
type Waits = Series['points'];

export const waits: Scenario = {
  row: 12,
  title: 'wait of single jobs behind the 3,000 jobs of another user',
  unit: 'ms',
  requirements: [{ subject: 'fair', against: 'age', atMost: 0.1 }],
  async open(bench) {
    const series: Series[] = [];
    const subjects = [
      await waiting(bench, 'age', 'By age', series),
      await waiting(bench, 'fair', 'In turn', series),
    ];
    return { rounds: 1, warmUps: 0, subjects, conclude: () => ({ series }) };
  },
};

async function waiting(
  bench: Bench,
  order: 'age' | 'fair',
  title: string,
  series: Series[],
): Promise<Subject> {
  const { jobs: count, workMs, everyMs } = bench.profile.waits;
  const { url, users } = await createMigratedDatabase(bench);
  const [many = '', single = ''] = users;
  const video = { filename: 'holiday.mp4', videoUrl: 's3://uploads/holiday.mp4' };
  return {
    name: order,
    how: `median; a worker with \`order: '${order}'\` and \`concurrency: ${CONCURRENCY}\`, whose jobs take ${workMs} ms; one user creates ${count.toLocaleString('en-US')} jobs at once, another one every ${everyMs} ms until these are done`,
    measure: async () => {
      const worker = await startWorker(url, CONCURRENCY, OWN, { order, workMs });
      await worker.jobs.createJobs(
        Array.from({ length: count }, () => ({ ...video, userId: many })),
      );
      let created = count;
      for (; (await worker.jobs.countJobs({ userId: many })).completed < count; created += 1) {
        await worker.jobs.createJob({ ...video, userId: single });
        await sleep(everyMs);
      }
      while (worker.completed() < created) await sleep(5);
      await worker.close();
      const [ofMany, ofSingle] = [await waitsOf(url, many), await waitsOf(url, single)];
      series.push({
        name: `${title}: wait of the jobs of a user who has ${count.toLocaleString('en-US')}, by when they start`,
        unit: 's',
        points: ofMany.filter((_, index) => index % 50 === 0),
        beside: { name: 'of a user who has one now and then', points: ofSingle },
      });
      return median(ofSingle.map(([, seconds]) => seconds * 1_000));
    },
  };
}

/** The waits, in the order of the starts, in s after the first job. */
const waitsOf = (url: string, userId: string): Promise<Waits> =>
  withClient(url, async (client) => {
    const { rows } = await client.query<{ at: number; waited: number }>(
      `SELECT EXTRACT(EPOCH FROM "startedAt" - (SELECT min("createdAt") FROM video_jobs))::float8 AS at,
         EXTRACT(EPOCH FROM "startedAt" - "createdAt")::float8 AS waited
       FROM video_jobs WHERE "userId" = $1 ORDER BY "startedAt"`,
      [userId],
    );
    return rows.map(({ at, waited }) => [at, waited] as const);
  });
