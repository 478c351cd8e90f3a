import { randomInt, randomUUID } from 'node:crypto';
import type { Client } from 'pg';
import { withClient } from '../harness/server.ts';

/** The data of a job that every subject stores. */
export interface Video {
  readonly userId: string;
  readonly filename: string;
  readonly videoUrl: string;
}

/** The result of every job. */
export const RESULT = { resultUrl: 's3://frames/holiday/0001.zip', frameCount: 1_440 };

/** Inserts users, so that not all jobs lock the same one's row. @returns their ids */
export async function createUsers(url: string, count: number): Promise<string[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ userId: string }>(
      `INSERT INTO users (username, email, "passwordHash")
       SELECT 'user' || i, 'user' || i || '@example.com', repeat('x', 60)
       FROM generate_series(1, $1) AS i
       RETURNING "userId"`,
      [count],
    );
    return rows.map(({ userId }) => userId);
  });
}

/** Makes up a video of one of the users. */
export function videoOf(users: readonly string[]): Video {
  const userId = users[randomInt(users.length)];
  if (userId === undefined) throw new Error('There are no users.');
  return { userId, filename: 'holiday.mp4', videoUrl: `s3://uploads/${randomUUID()}/holiday.mp4` };
}

export const randomUsers = (count: number): string[] => Array.from({ length: count }, randomUUID);

const VIDEO = `"jobId", "userId", "filename", "videoUrl"`;
/** @param age - of the job: ids are in the order of time, as the services make them */
const someVideo = (age: string): string =>
  `uuidv7(-(${age})), u.ids[1 + i % cardinality(u.ids)], 'holiday.mp4', 's3://uploads/' || i || '/holiday.mp4'`;
const USERS = `(SELECT array_agg("userId") AS ids FROM users) AS u`;

/** Adds pending jobs until there are `count`. */
export async function fillPending(url: string, count: number): Promise<void> {
  await withClient(url, async (client) => {
    await client.query(
      `INSERT INTO video_jobs (${VIDEO})
       SELECT ${someVideo(`interval '0 s'`)}
       FROM ${USERS},
         generate_series(1, $1 - (SELECT count(*) FROM video_jobs WHERE status = 'pending')) AS i`,
      [count],
    );
  });
}

/** Adds completed jobs of the last 90 days, each with its notification that was sent. */
export async function fillFinished(url: string, count: number): Promise<void> {
  await withClient(url, async (client) => {
    // The rows obey their foreign keys. To check each of them would take most of the time.
    await client.query('SET session_replication_role = replica');
    await client.query('SET synchronous_commit = off');
    await client.query(`SET maintenance_work_mem = '512MB'`);
    await withoutIndexes(client, ['video_jobs', 'notification_log'], async () => {
      await client.query(
        `INSERT INTO video_jobs (${VIDEO}, status, "resultUrl", "frameCount", "createdAt",
           "startedAt", "completedAt", "availableAt", "runNumber", attempts)
         SELECT ${someVideo('now() - t.at')}, 'completed', $2, $3, t.at, t.at + interval '1 s',
           t.at + interval '9 s', t.at + interval '31 s', 1, 1
         FROM ${USERS}, generate_series(1, $1) AS i,
           LATERAL (SELECT now() - interval '90 days' * (1.001 - i / $1::float8) AS at) AS t`,
        [count, RESULT.resultUrl, RESULT.frameCount],
      );
      await client.query(
        `INSERT INTO notification_log ("notificationId", "jobId", "notificationType", "recipientEmail",
           "deliveryStatus", "createdAt", "availableAt", "sentAt", "deliveryNumber", "runNumber")
         SELECT uuidv7(j."completedAt" - now()), j."jobId", 'success', u.email, 'sent', j."completedAt", j."completedAt",
           j."completedAt" + interval '1 s', 1, 1
         FROM video_jobs j JOIN users u ON u."userId" = j."userId"
         WHERE j.status = 'completed'`,
      );
    });
  });
}

/**
 * Runs work without indexes and creates them again, which is much faster than an update for each row. Indexes
 * of constraints stay.
 */
async function withoutIndexes(
  client: Client,
  tables: readonly string[],
  work: () => Promise<void>,
): Promise<void> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = ANY($1::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)`,
    [tables],
  );
  for (const { name } of rows) await client.query(`DROP INDEX ${client.escapeIdentifier(name)}`);
  await work();
  for (const { definition } of rows) await client.query(definition);
}

/** Puts the tables of all subjects into the state in which autovacuum would leave them. */
export async function vacuum(url: string): Promise<void> {
  await withClient(url, (client) => client.query('VACUUM (ANALYZE)'));
}
