import { createPostgresBackend, Queue, runMigrations, Worker } from 'bullmq';
import { CONNECTIONS } from '../config.ts';
import type { Bench } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { randomUsers, RESULT, videoOf } from './fixtures.ts';
import type { Video } from './fixtures.ts';

const NAME = 'process-video';
const FILL_ROWS = 10_000;
const USERS = randomUsers(1);

/** The highest value that the page of BullMQ on PostgreSQL measures. Higher values made it no faster. */
export const CONCURRENCY = 32;

/** The tables to which a drain writes. */
export const TABLES = 'bullmq.job, bullmq.event';

export interface BullMq {
  readonly url: string;
  add(video: Video): Promise<unknown>;
  addAll(videos: readonly Video[]): Promise<unknown>;
}

const optionsOf = (url: string): { connection: { connectionString: string; max: number } } => ({
  connection: { connectionString: url, max: CONNECTIONS },
});

/** BullMQ with its backend for PostgreSQL. */
export async function openBullMq(bench: Bench): Promise<BullMq> {
  const url = await bench.createDatabase();
  await withClient(url, (client) => runMigrations(client));
  const queue = new Queue(NAME, optionsOf(url), createPostgresBackend);
  queue.on('error', (error) => bench.say(`BullMQ: ${error.message}`));
  bench.onEnd(() => queue.close());
  await queue.waitUntilReady();
  return {
    url,
    add: (video) => queue.add(NAME, video),
    addAll: (videos) => queue.addBulk(videos.map((data) => ({ name: NAME, data }))),
  };
}

/** Adds pending jobs. */
export async function fillBullMq({ addAll }: BullMq, count: number): Promise<void> {
  for (let left = count; left > 0; left -= FILL_ROWS) {
    await addAll(Array.from({ length: Math.min(left, FILL_ROWS) }, () => videoOf(USERS)));
  }
}

/**
 * Works on jobs until this many are completed.
 *
 * @returns jobs per second, without the start and the end of the worker
 */
export async function drainBullMq(bench: Bench, { url }: BullMq, jobs: number): Promise<number> {
  const worker = new Worker(
    NAME,
    async () => RESULT,
    { ...optionsOf(url), concurrency: CONCURRENCY, autorun: false },
    createPostgresBackend,
  );
  worker.on('error', (error) => bench.say(`BullMQ: ${error.message}`));
  await worker.waitUntilReady();
  const done = Promise.withResolvers<void>();
  let completed = 0;
  worker.on('completed', () => {
    completed += 1;
    if (completed === jobs) done.resolve();
  });
  const start = performance.now();
  const running = worker.run();
  await done.promise;
  const ms = performance.now() - start;
  await worker.close();
  await running;
  return (jobs / ms) * 1_000;
}
