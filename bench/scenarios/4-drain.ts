import { setTimeout as sleep } from 'node:timers/promises';
import { runOnce } from 'graphile-worker';
import { CONNECTIONS } from '../config.ts';
import type { Scenario, Subject } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { fillPending, randomUsers, RESULT, vacuum } from '../subjects/fixtures.ts';
import type { Video } from '../subjects/fixtures.ts';
import * as floor from '../subjects/floor.ts';
import { createMigratedDatabase, startWorker } from '../subjects/frameforge.ts';
import { fillGraphile, openGraphile, presetOf, TASK } from '../subjects/graphile.ts';
import { fillPgBoss, NOTIFY, openPgBoss, QUEUE } from '../subjects/pg-boss.ts';
import type { Boss } from '../subjects/pg-boss.ts';

/** Jobs in one statement, of every subject that has batches. */
const BATCH = 500;

/** Batches of the floor and of pg-boss that are under way at once. */
const PARALLEL = 2;

const PG_BOSS_HOW = `\`work\` with \`batchSize: ${BATCH}\`, \`localConcurrency: ${PARALLEL}\`, \`burstWhenBatchFull\``;

export const drain: Scenario = {
  row: 4,
  title: 'drain 50,000 jobs by a worker whose handler does nothing',
  unit: 'jobs/s',
  requirements: [
    { subject: 'this package', against: 'floor', atLeast: 0.85 },
    { subject: 'this package', against: 'pg-boss', atLeast: 1 },
    { subject: 'this package', against: 'graphile-worker', atLeast: 2 },
  ],
  async open(bench) {
    const { drainJobs, slowDrainJobs } = bench.profile;
    const own = await createMigratedDatabase(bench);
    const bare = await floor.openFloor(bench);
    const barest = await floor.openBareFloor(bench);
    const alone = await openPgBoss(bench);
    const notified = await floor.openBareFloor(bench);
    const notifying = await openPgBoss(bench, notified.url);
    let batches = 0;
    const nextConnection = (): number => (batches += 1) % CONNECTIONS;
    const graphile = await openGraphile(bench);
    const tunedGraphile = await openGraphile(bench);

    /** @param work - drains the queue */
    const drained = (work: () => Promise<unknown>, jobs = drainJobs): Subject['measure'] => {
      return async () => {
        const start = performance.now();
        await work();
        return (jobs / (performance.now() - start)) * 1_000;
      };
    };
    const byFloor = (on: floor.Floor): Pick<Subject, 'prepare' | 'measure'> => ({
      prepare: refill(on.url, 'video_jobs, notification_log', () => fillPending(on.url, drainJobs)),
      measure: drained(() =>
        Promise.all(
          Array.from({ length: PARALLEL }, async (_, connection) => {
            while ((await drainBatch(on, connection)) > 0);
          }),
        ),
      ),
    });
    const byPgBoss = (
      { url, boss }: Boss,
      users: readonly string[],
      tables: string,
      handle: (batch: readonly { id: string; data: Video }[]) => Promise<unknown>,
    ): Pick<Subject, 'prepare' | 'measure'> => ({
      prepare: refill(url, tables, () => fillPgBoss(url, boss, users, drainJobs)),
      measure: drained(async () => {
        const done = Promise.withResolvers<void>();
        let jobs = 0;
        await boss.work<Video>(
          QUEUE,
          { batchSize: BATCH, localConcurrency: PARALLEL, burstWhenBatchFull: true },
          async (batch) => {
            await handle(batch);
            jobs += batch.length;
            if (jobs === drainJobs) done.resolve();
          },
        );
        await done.promise;
        // It returns when the last batches are completed.
        await boss.offWork(QUEUE, { wait: true });
      }),
    });
    const prepareGraphile = (of: typeof graphile, jobs: number): Subject['prepare'] =>
      refill(of.url, 'graphile_worker._private_jobs', () => fillGraphile(of, jobs));
    const noop = { [TASK]: async () => {} };
    return {
      subjects: [
        {
          name: 'this package',
          how: `\`FrameForgeWorkerModule\`, a handler with \`concurrency: ${BATCH}\`; every completion with its notification row`,
          prepare: refill(own.url, 'video_jobs', () => fillPending(own.url, drainJobs)),
          measure: async () => {
            const worker = await startWorker(own.url, BATCH);
            while (worker.completed() < drainJobs) await sleep(5);
            const ms = performance.now() - worker.startedAt;
            await worker.close();
            await expectNotifications(own.url, drainJobs);
            return (drainJobs / ms) * 1_000;
          },
        },
        {
          name: 'floor',
          how: `${floor.HOW}: ${PARALLEL} loops that claim ${BATCH} and complete them, with their notification rows`,
          ...byFloor(bare),
        },
        { name: 'floor, bare tables', how: floor.BARE_HOW, ...byFloor(barest) },
        {
          name: 'pg-boss',
          how: `${PG_BOSS_HOW}; it writes no notification`,
          ...byPgBoss(alone, randomUsers(bench.profile.users), 'pgboss.job', async () => {}),
        },
        {
          name: 'pg-boss, with notifications',
          how: "the same, with a handler that writes the batch's notification rows into the bare table, by one prepared statement in a transaction of its own",
          ...byPgBoss(notifying, notified.users, 'pgboss.job, notification_log', (batch) =>
            notified.run(nextConnection(), NOTIFY, [
              batch.map(({ id }) => id),
              batch.map(({ data }) => data.userId),
            ]),
          ),
        },
        {
          name: 'graphile-worker',
          how: '`runOnce` with the default options: one job at a time; it writes no notification',
          prepare: prepareGraphile(graphile, slowDrainJobs),
          measure: drained(
            () =>
              runOnce({ preset: presetOf(graphile.url), taskList: noop, noHandleSignals: true }),
            slowDrainJobs,
          ),
        },
        {
          name: 'graphile-worker, tuned',
          how: '`runOnce` as its page on performance has it: `concurrentJobs: 24`, `localQueue: { size: 500 }`, `completeJobBatchDelay: 0`',
          prepare: prepareGraphile(tunedGraphile, drainJobs),
          measure: drained(() =>
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

async function drainBatch({ run }: floor.Floor, connection: number): Promise<number> {
  const claim = [BATCH, 30_000, `floor:${connection}`, 5, '-infinity', null, null];
  const jobs = await run(connection, floor.sql.claimJobs, claim);
  if (jobs.length === 0) return 0;
  await run(connection, floor.sql.settleJobsBriefly, [
    jobs.map(({ jobId }) => jobId),
    jobs.map(({ runNumber }) => runNumber),
    jobs.map(({ workerId }) => workerId),
    jobs.map(() => 'completed'),
    jobs.map(() => RESULT.resultUrl),
    jobs.map(() => RESULT.frameCount),
    jobs.map(() => null),
    jobs.map(() => 0),
    jobs.map(() => 0),
  ]);
  return jobs.length;
}

async function expectNotifications(url: string, count: number): Promise<void> {
  const { rows } = await withClient(url, (client) =>
    client.query<{ count: number }>('SELECT count(*)::integer AS count FROM notification_log'),
  );
  if (rows[0]?.count !== count) throw new Error(`${rows[0]?.count} notifications, not ${count}.`);
}
