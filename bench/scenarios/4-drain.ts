import { setTimeout as sleep } from 'node:timers/promises';
import { runOnce } from 'graphile-worker';
import { OWN } from '../harness/build.ts';
import type { Build } from '../harness/build.ts';
import type { Bench, Scenario, Subject } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import * as bullMq from '../subjects/bullmq.ts';
import { fillPending, randomUsers, vacuum } from '../subjects/fixtures.ts';
import type { Video } from '../subjects/fixtures.ts';
import * as floor from '../subjects/floor.ts';
import { createMigratedDatabase, startWorker } from '../subjects/frameforge.ts';
import { fillGraphile, openGraphile, presetOf, TASK } from '../subjects/graphile.ts';
import * as pgBoss from '../subjects/pg-boss.ts';

/** Jobs in one batch, for every subject that works in batches. */
const BATCH = 500;

/** How often a handler reports its progress, in the turns in which it does. */
const STEPS = 10;

/** Batches of the floor and of pg-boss that run at the same time. */
const PARALLEL = 2;

const PG_BOSS_HOW = `\`work\` with \`batchSize: ${BATCH}\`, \`localConcurrency: ${PARALLEL}\`, \`burstWhenBatchFull\``;

/**
 * How much faster this package is to be than at commit b465724. It would be 1.2 without the entries of
 * `idx_jobs_pending_user`, an index that did not exist at that commit.
 */
const FASTER = 1.15;

type Turn = Pick<Subject, 'prepare' | 'measure'>;

export const drain: Scenario = {
  row: 4,
  title: 'drain 50,000 jobs by a worker whose handler does nothing',
  unit: 'jobs/s',
  requirements: [
    { subject: 'this package', against: 'floor', atLeast: 0.85 },
    { subject: 'this package, with progress', against: 'this package', atLeast: 0.9 },
    { subject: 'this package', against: 'pg-boss, with notifications', atLeast: 0.9 },
    { subject: 'this package', against: 'pg-boss on the commissioned tables', atLeast: 1.5 },
    { subject: 'this package', against: 'graphile-worker', atLeast: 2 },
    { subject: 'this package', against: 'BullMQ', atLeast: 6 },
  ],
  async open(bench) {
    const { baseline } = bench;
    const { drainJobs, slowDrainJobs } = bench.profile;
    const graphile = await openGraphile(bench);
    const tunedGraphile = await openGraphile(bench);
    const bull = await bullMq.openBullMq(bench);
    const noop = { [TASK]: async () => {} };
    return {
      requirements: baseline && [
        { subject: 'this package', against: baseline.name, atLeast: FASTER },
      ],
      subjects: [
        {
          name: 'this package',
          how: `\`FrameForgeWorkerModule\`, a handler with \`concurrency: ${BATCH}\`; every completion with its notification row`,
          ...(await drainingByWorker(bench)),
        },
        {
          name: 'this package, with progress',
          how: `the same, with a handler that reports its progress at each of ${STEPS} steps`,
          ...(await byWorker(bench, OWN, undefined, STEPS)),
        },
        ...(baseline === undefined
          ? []
          : [
              {
                name: baseline.name,
                how: 'this package as it was at that commit, used in the same way',
                ...(await byWorker(bench, baseline)),
              },
            ]),
        {
          name: 'floor',
          how: `${floor.HOW}: ${PARALLEL} loops that claim ${BATCH} and complete them, with their notification rows`,
          ...byFloor(bench, await floor.openFloor(bench)),
        },
        {
          name: 'floor, bare tables',
          how: floor.BARE_HOW,
          ...byFloor(bench, await floor.openBareFloor(bench)),
        },
        {
          name: 'pg-boss',
          how: `${PG_BOSS_HOW}; it writes no notification`,
          ...byPgBoss(bench, await pgBoss.openEmptyBoss(bench, randomUsers(bench.profile.users))),
        },
        {
          name: 'pg-boss, with notifications',
          how: "the same, with a handler that writes the batch's notification rows into the bare table, by one prepared statement in a transaction of its own",
          ...byPgBoss(bench, await pgBoss.openNotifyingBoss(bench)),
        },
        {
          name: 'pg-boss on the commissioned tables',
          how: "the same, with a handler that keeps the tables of the first three migrations: it sets the batch's `video_jobs` to processing, then to completed, with their results and their notification rows in the same statement; both statements are prepared",
          ...byPgBoss(bench, await pgBoss.openKeepingBoss(bench)),
        },
        {
          name: 'graphile-worker',
          how: '`runOnce` with the default options: one job at a time; it writes no notification',
          prepare: prepareGraphile(graphile, slowDrainJobs),
          measure: drained(slowDrainJobs, () =>
            runOnce({ preset: presetOf(graphile.url), taskList: noop, noHandleSignals: true }),
          ),
        },
        {
          name: 'graphile-worker, tuned',
          how: '`runOnce` as its page on performance has it: `concurrentJobs: 24`, `localQueue: { size: 500 }`, `completeJobBatchDelay: 0`',
          prepare: prepareGraphile(tunedGraphile, drainJobs),
          measure: drained(drainJobs, () =>
            runOnce({
              preset: {
                worker: {
                  ...presetOf(tunedGraphile.url).worker,
                  concurrentJobs: 24,
                  localQueue: { size: 500 },
                  completeJobBatchDelay: 0,
                  failJobBatchDelay: 0,
                },
              },
              taskList: noop,
              noHandleSignals: true,
            }),
          ),
        },
        {
          name: 'BullMQ',
          how: `a \`Worker\` with \`concurrency: ${bullMq.CONCURRENCY}\` on its backend for PostgreSQL, which commits each job for itself; it writes no notification`,
          prepare: refill(bull.url, bullMq.TABLES, () => bullMq.fillBullMq(bull, slowDrainJobs)),
          measure: () => bullMq.drainBullMq(bench, bull, slowDrainJobs),
        },
      ],
    };
  },
};

/** Every turn begins with the same tables. */
const refill =
  (url: string, tables: string, fill: () => Promise<void>) => async (): Promise<void> => {
    await withClient(url, (client) => client.query(`TRUNCATE ${tables} CASCADE`));
    await fill();
    await vacuum(url);
  };

/** @param work - drains the queue */
const drained = (jobs: number, work: () => Promise<unknown>) => async (): Promise<number> => {
  const start = performance.now();
  await work();
  return (jobs / (performance.now() - start)) * 1_000;
};

/** @param change - changes the migrated database before the first turn */
export const drainingByWorker = (
  bench: Bench,
  change?: (url: string) => Promise<void>,
): Promise<Turn> => byWorker(bench, OWN, change);

async function byWorker(
  bench: Bench,
  build: Build,
  change?: (url: string) => Promise<void>,
  steps?: number,
): Promise<Turn> {
  const { drainJobs } = bench.profile;
  const { url } = await createMigratedDatabase(bench, build.database.frameForgeMigrations);
  await change?.(url);
  return {
    prepare: refill(url, 'video_jobs', () => fillPending(url, drainJobs)),
    measure: async () => {
      const worker = await startWorker(url, BATCH, build, { steps });
      while (worker.completed() < drainJobs) await sleep(5);
      const ms = performance.now() - worker.startedAt;
      await worker.close();
      await expectNotifications(url, drainJobs);
      return (drainJobs / ms) * 1_000;
    },
  };
}

function byFloor(bench: Bench, { url, claimJobs, completeJobs }: floor.Floor): Turn {
  const { drainJobs } = bench.profile;
  const loop = async (connection: number): Promise<void> => {
    for (;;) {
      const jobs = await claimJobs(connection, BATCH);
      if (jobs.length === 0) return;
      await completeJobs(connection, jobs);
    }
  };
  return {
    prepare: refill(url, 'video_jobs, notification_log', () => fillPending(url, drainJobs)),
    measure: drained(drainJobs, () =>
      Promise.all(Array.from({ length: PARALLEL }, (_, connection) => loop(connection))),
    ),
  };
}

function byPgBoss(bench: Bench, { url, boss, tables, fill, handle }: pgBoss.HandlingBoss): Turn {
  const { drainJobs } = bench.profile;
  return {
    prepare: refill(url, tables, () => fill(drainJobs)),
    measure: drained(drainJobs, async () => {
      const done = Promise.withResolvers<void>();
      let jobs = 0;
      await boss.work<Video>(
        pgBoss.QUEUE,
        { batchSize: BATCH, localConcurrency: PARALLEL, burstWhenBatchFull: true },
        async (batch) => {
          // pg-boss would try a failed batch again, and the count would hide that. So a failure ends the turn.
          await handle(batch).catch(done.reject);
          jobs += batch.length;
          if (jobs === drainJobs) done.resolve();
        },
      );
      await done.promise;
      // This returns when the last batches are completed.
      await boss.offWork(pgBoss.QUEUE, { wait: true });
    }),
  };
}

type Graphile = Awaited<ReturnType<typeof openGraphile>>;

const prepareGraphile = (of: Graphile, jobs: number): Turn['prepare'] =>
  refill(of.url, 'graphile_worker._private_jobs', () => fillGraphile(of, jobs));

async function expectNotifications(url: string, count: number): Promise<void> {
  const { rows } = await withClient(url, (client) =>
    client.query<{ count: number }>('SELECT count(*)::integer AS count FROM notification_log'),
  );
  if (rows[0]?.count !== count) throw new Error(`${rows[0]?.count} notifications, not ${count}.`);
}
