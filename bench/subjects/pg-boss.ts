import {
  CreateNotificationLogTable1700000003000,
  CreateUsersTable1700000001000,
  CreateVideoJobsTable1700000002000,
} from '../../dist/index.js';
import { PgBoss } from 'pg-boss';
import { CONNECTIONS } from '../config.ts';
import type { Bench } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { openConnections } from './connections.ts';
import { fillPending, RESULT, videoOf } from './fixtures.ts';
import type { Video } from './fixtures.ts';
import { makeBare } from './floor.ts';
import { createMigratedDatabase } from './frameforge.ts';

export const QUEUE = 'process-video';

const FILL_ROWS = 10_000;

export interface Boss {
  readonly url: string;
  readonly boss: PgBoss;
}

/** A queue, and the work of its handler on a batch of jobs. */
export interface HandlingBoss extends Boss {
  /** The tables to which it writes. */
  readonly tables: string;
  fill(count: number): Promise<void>;
  handle(batch: readonly { readonly id: string; readonly data: Video }[]): Promise<void>;
}

/**
 * Opens pg-boss without maintenance and scheduling, because these would take time from the measured work.
 *
 * @param database - the url of a database to work in; an empty one if left out
 */
export async function openPgBoss(bench: Bench, database?: string): Promise<Boss> {
  const url = database ?? (await bench.createDatabase());
  const boss = new PgBoss({
    connectionString: url,
    max: CONNECTIONS,
    supervise: false,
    schedule: false,
  });
  boss.on('error', (error) => bench.say(`pg-boss: ${error.message}`));
  await boss.start();
  bench.onEnd(() => boss.stop({ graceful: false }));
  await boss.createQueue(QUEUE);
  return { url, boss };
}

/** Opens a queue whose handler does nothing. */
export async function openEmptyBoss(bench: Bench, users: readonly string[]): Promise<HandlingBoss> {
  const opened = await openPgBoss(bench);
  return {
    ...opened,
    tables: 'pgboss.job',
    fill: (count) => fillPgBoss(opened.url, opened.boss, users, count),
    handle: async () => {},
  };
}

/**
 * The notifications that a handler writes for a batch: $1 jobIds, $2 userIds. This is a separate transaction,
 * unlike in this package.
 */
const NOTIFY = {
  name: 'notify',
  text: `
    INSERT INTO notification_log
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber")
    SELECT uuidv7(), i."jobId", 'success', u.email, 1
    FROM unnest($1::uuid[], $2::uuid[]) AS i("jobId", "userId")
    JOIN users u ON u."userId" = i."userId"`,
};

/** Opens a queue whose handler writes the notifications, and no other table. */
export async function openNotifyingBoss(bench: Bench): Promise<HandlingBoss> {
  const { url, users } = await createMigratedDatabase(bench);
  await makeBare(url);
  const run = await openConnections(bench, url);
  const { boss } = await openPgBoss(bench, url);
  const next = inTurn();
  return {
    url,
    boss,
    tables: 'pgboss.job, notification_log',
    fill: (count) => fillPgBoss(url, boss, users, count),
    handle: async (batch) => {
      const jobIds = batch.map(({ id }) => id);
      const userIds = batch.map(({ data }) => data.userId);
      const { rowCount } = await run(next(), NOTIFY, [jobIds, userIds]);
      expect(rowCount, batch.length);
    },
  };
}

/** Starts jobs: $1 jobIds. */
const START = {
  name: 'start',
  text: `
    UPDATE video_jobs SET status = 'processing', "startedAt" = statement_timestamp()
    WHERE "jobId" = ANY($1::uuid[])`,
};

/** Completes jobs, with their notifications: $1 jobIds, $2 their resultUrls, $3 their frameCounts. */
const COMPLETE = {
  name: 'complete',
  text: `
    WITH completed AS (
      UPDATE video_jobs j
      SET status = 'completed', "resultUrl" = i."resultUrl", "frameCount" = i."frameCount",
        "completedAt" = statement_timestamp()
      FROM unnest($1::uuid[], $2::text[], $3::integer[]) AS i("jobId", "resultUrl", "frameCount")
      WHERE j."jobId" = i."jobId"
      RETURNING j."jobId", j."userId"
    )
    INSERT INTO notification_log ("notificationId", "jobId", "notificationType", "recipientEmail")
    SELECT uuidv7(), c."jobId", 'success', u.email
    FROM completed c JOIN users u ON u."userId" = c."userId"`,
};

/** Opens a queue whose handler also writes the tables of the first three migrations. */
export async function openKeepingBoss(bench: Bench): Promise<HandlingBoss> {
  const { url } = await createMigratedDatabase(bench, [
    CreateUsersTable1700000001000,
    CreateVideoJobsTable1700000002000,
    CreateNotificationLogTable1700000003000,
  ]);
  const run = await openConnections(bench, url);
  const { boss } = await openPgBoss(bench, url);
  const next = inTurn();
  return {
    url,
    boss,
    tables: 'pgboss.job, video_jobs',
    fill: async (count) => {
      await fillPending(url, count);
      const { rows } = await withClient(url, (client) =>
        client.query<{ id: string; data: Video }>(
          `SELECT "jobId" AS id, jsonb_build_object('userId', "userId", 'filename', filename,
             'videoUrl', "videoUrl") AS data
           FROM video_jobs ORDER BY "jobId"`,
        ),
      );
      while (rows.length > 0) await boss.insert(QUEUE, rows.splice(0, FILL_ROWS));
    },
    handle: async (batch) => {
      const connection = next();
      const jobIds = batch.map(({ id }) => id);
      const started = await run(connection, START, [jobIds]);
      expect(started.rowCount, batch.length);
      const completed = await run(connection, COMPLETE, [
        jobIds,
        batch.map(() => RESULT.resultUrl),
        batch.map(() => RESULT.frameCount),
      ]);
      expect(completed.rowCount, batch.length);
    },
  };
}

/** Returns the connections in turn. */
function inTurn(): () => number {
  let taken = 0;
  return () => (taken += 1) % CONNECTIONS;
}

function expect(changed: number | null, wanted: number): void {
  if (changed !== wanted) throw new Error(`A handler changed ${changed} jobs, not ${wanted}.`);
}

/** Adds pending jobs until there are `count`. */
export async function fillPgBoss(
  url: string,
  boss: PgBoss,
  users: readonly string[],
  count: number,
): Promise<void> {
  const { rows } = await withClient(url, (client) =>
    client.query<{ count: number }>(
      `SELECT count(*)::integer AS count FROM pgboss.job WHERE state = 'created'`,
    ),
  );
  for (let missing = count - (rows[0]?.count ?? 0); missing > 0; missing -= FILL_ROWS) {
    const length = Math.min(missing, FILL_ROWS);
    const jobs = Array.from({ length }, () => ({ data: videoOf(users) }));
    await boss.insert(QUEUE, jobs);
  }
}
