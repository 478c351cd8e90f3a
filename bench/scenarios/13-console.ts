import { JobStatistics } from '../../dist/index.js';
import { median } from '../harness/rounds.ts';
import type { Scenario, Subject } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { fillFinished, fillPending, vacuum } from '../subjects/fixtures.ts';
import * as frameForge from '../subjects/frameforge.ts';

/** How long the data of a page may take, in ms, at the median. */
const AT_MOST_MS = 300;
/** Pending jobs that are created at the same moment. */
const TOGETHER = 1_000;

const PAGES: readonly (readonly [string, (statistics: JobStatistics) => Promise<unknown>])[] = [
  ['overview', (statistics) => statistics.overview()],
  ['migrations and drift', (statistics) => statistics.schema()],
  ['jobs', (statistics) => statistics.searchJobs()],
  ['pending jobs', (statistics) => statistics.searchJobs({ status: 'pending' })],
  ['completed jobs', (statistics) => statistics.searchJobs({ status: 'completed' })],
  ['failed jobs', (statistics) => statistics.searchJobs({ status: 'failed' })],
  ["one user's jobs", jobsOfOneUser],
  ['longest waiting', (statistics) => statistics.searchJobs({ order: 'waiting' })],
  ['a text that no job has', (statistics) => statistics.searchJobs({ text: 'nothing' })],
  ['notifications', (statistics) => statistics.searchNotifications()],
  ['failed notifications', (s) => s.searchNotifications({ deliveryStatus: 'failed' })],
  ['one job', oneJob],
];

export const consolePages: Scenario = {
  row: 13,
  title: "the data of the console's pages, with 5,000,000 finished and 100,000 pending jobs",
  unit: 'ms',
  requirements: PAGES.map(([subject]) => ({ subject, atMost: AT_MOST_MS })),
  async open(bench) {
    const { growth, list } = bench.profile;
    const { url, jobs } = await frameForge.openFrameForge(bench);
    await fillFinished(url, growth.finished);
    const step = Math.min(TOGETHER, growth.pending);
    for (let count = step; count <= growth.pending; count += step) await fillPending(url, count);
    await failSome(url);
    await fillReports(url);
    await vacuum(url);
    const statistics = new JobStatistics(jobs.dataSource);
    const calls = Math.ceil(list.calls / 20);
    const how = `median of ${calls} calls, one after the other; nothing is kept between them but the hours of the overview that are over`;
    const subjects = PAGES.map(([name, read]): Subject => {
      const measure = async (): Promise<number> => {
        const times: number[] = [];
        for (let call = 0; call < calls; call += 1) {
          const start = performance.now();
          await read(statistics);
          times.push(performance.now() - start);
        }
        return median(times);
      };
      return { name, how, measure };
    });
    return { subjects };
  },
};

async function jobsOfOneUser(statistics: JobStatistics): Promise<unknown> {
  const user = await statistics.findUser('user1');
  if (user === null) throw new Error('There is no such user.');
  return statistics.searchJobs({ userId: user.userId });
}

async function oneJob(statistics: JobStatistics): Promise<unknown> {
  const { found } = await statistics.searchJobs({ limit: 1 });
  const [job] = found;
  if (job === undefined) throw new Error('There are no jobs.');
  return statistics.jobLife(job.jobId);
}

/** One finished job in fifty has failed, and one of their notifications in ten. */
async function failSome(url: string): Promise<void> {
  await withClient(url, async (client) => {
    // The database refuses a move out of `completed`.
    await client.query('SET session_replication_role = replica');
    await client.query(
      `UPDATE video_jobs SET status = 'failed', "errorMessage" = 'The file has no video stream.',
         "resultUrl" = NULL, "frameCount" = NULL
       WHERE status = 'completed' AND random() < 0.02`,
    );
    await client.query(
      `UPDATE notification_log n SET "notificationType" = 'failure',
         "deliveryStatus" = CASE WHEN random() < 0.1 THEN 'failed' ELSE 'sent' END
       FROM video_jobs j WHERE j."jobId" = n."jobId" AND j.status = 'failed'`,
    );
  });
}

/** The reports of ten workers in a week. */
async function fillReports(url: string): Promise<void> {
  await withClient(url, (client) =>
    client.query(
      `INSERT INTO worker_reports ("workerId", minute, "startedAt", places, running, completed)
       SELECT 'worker-' || w, date_trunc('minute', now()) - m * interval '1 minute', now(), 4, 2, 20
       FROM generate_series(1, 10) AS w, generate_series(0, 10079) AS m`,
    ),
  );
}
