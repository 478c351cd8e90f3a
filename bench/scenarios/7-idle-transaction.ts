import { setTimeout as sleep } from 'node:timers/promises';
import { metrics } from '@opentelemetry/api';
import { Client } from 'pg';
import { percentile } from '../harness/rounds.ts';
import type { Scenario } from '../harness/scenario.ts';
import { createMigratedDatabase, startWorker } from '../subjects/frameforge.ts';
import { ClaimTimes } from '../subjects/claim-times.ts';
import { Producer } from '../subjects/producer.ts';

/** How often the producer creates the jobs that are due by its rate, in ms. */
const TICK_MS = 10;

const CONCURRENCY = 200;

/** After this time the measurement fails. */
const PATIENCE_MS = 300_000;

export const idleTransaction: Scenario = {
  row: 7,
  title: '800 jobs/s in and out while another session sits idle in a transaction for 5 minutes',
  unit: 'ms',
  requirements: [
    { subject: 'claim, 99th percentile', atMost: 250 },
    { subject: 'until the backlog is 0 again', atMost: 30_000 },
  ],
  async open(bench) {
    const { seconds, jobsPerSecond, windowSeconds } = bench.profile.idleTransaction;
    const { url, users } = await createMigratedDatabase(bench);
    const claims = new ClaimTimes();
    metrics.setGlobalMeterProvider(claims);
    bench.onEnd(async () => metrics.disable());
    const times: number[] = [];
    const claimPoints: [number, number][] = [];
    const backlogPoints: [number, number][] = [];
    let caughtUpMs = NaN;

    const measure = async (): Promise<number> => {
      const worker = await startWorker(url, CONCURRENCY);
      const producer = new Producer(worker.jobs, users);
      const idler = new Client({ connectionString: url });
      await idler.connect();
      // Because of this snapshot, no vacuum can remove rows that die from now on from tables and indexes.
      await idler.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await idler.query('SELECT count(*) FROM video_jobs');
      const start = performance.now();
      const untilSecond = async (second: number): Promise<void> => {
        for (let now = 0; now < second; now = (performance.now() - start) / 1_000) {
          producer.sendUpTo(now * jobsPerSecond);
          await sleep(TICK_MS);
        }
      };
      for (let second = 0; second < seconds;) {
        second = Math.min(second + windowSeconds, seconds);
        await untilSecond(second);
        const taken = claims.take();
        times.push(...taken);
        claimPoints.push([second, percentile(taken, 0.99)]);
        backlogPoints.push([second, producer.sent - worker.completed()]);
      }
      await idler.query('COMMIT');
      await idler.end();
      const over = performance.now();
      while (worker.completed() < producer.sent) {
        producer.check();
        if (performance.now() - over > PATIENCE_MS) throw new Error('The backlog does not shrink.');
        await sleep(1);
      }
      caughtUpMs = performance.now() - over;
      await worker.close();
      return percentile(times, 0.99);
    };
    const how =
      `\`createJob\` for each job and a \`FrameForgeWorkerModule\` with \`concurrency: ${CONCURRENCY}\` in one process; ` +
      `time of each claim by the worker's own metric \`frameforge.claim.duration\``;
    return {
      rounds: 1,
      warmUps: 0,
      subjects: [
        { name: 'claim, 99th percentile', how, measure },
        {
          name: 'until the backlog is 0 again',
          how: 'from the end of the idle transaction, when the last job was created, to the last completion',
          measure: async () => caughtUpMs,
        },
      ],
      conclude: () => ({
        notes: [
          `${times.length} claims: the median claim took ${percentile(times, 0.5).toFixed(1)} ms and the longest ${percentile(times, 1).toFixed(1)} ms.`,
        ],
        series: [
          { name: 'claim, 99th percentile', unit: 'ms', points: claimPoints },
          { name: 'backlog', unit: 'jobs', points: backlogPoints },
        ],
      }),
    };
  },
};
