import { PgBoss } from 'pg-boss';
import { CONNECTIONS } from '../config.ts';
import type { Bench } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { videoOf } from './fixtures.ts';

export const QUEUE = 'process-video';

const FILL_ROWS = 10_000;

export interface Boss {
  readonly url: string;
  readonly boss: PgBoss;
}

/**
 * With maintenance and scheduling off: they would only take time from what is measured.
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

/** What a handler writes of a batch: $1 jobIds, $2 userIds. In a transaction of its own, unlike this package. */
export const NOTIFY = {
  name: 'notify',
  text: `
    INSERT INTO notification_log
      ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber")
    SELECT uuidv7(), i."jobId", 'success', u.email, 1
    FROM unnest($1::uuid[], $2::uuid[]) AS i("jobId", "userId")
    JOIN users u ON u."userId" = i."userId"`,
};

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
