import { Client } from 'pg';
import { claimAnyInTurn, claimInTurn, Rotation } from '../../src/jobs/fair.claiming.js';
import { claimAny, claimLastTries, claimLost, claimPending } from '../../src/jobs/job.claiming.js';
import { claimNotifications } from '../../src/notifications/notification.claiming.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { onServer } from '../support/server.js';
import { HOUR_MS } from './fixtures.js';
import { withoutIndexes } from './plan.js';

// PostgreSQL plans a prepared statement anew at each call if plans for the values look cheaper than the plan that it
// could keep. To plan a claim takes as long as the claim itself.

const BACKLOG = 100_000;
/** PostgreSQL plans the first five calls of each statement. */
const PLANNED = 5;

let h: Harness;
let own: Harness;
let db: SqlRunner;

beforeAll(async () => {
  h = await openHarness();
  const client = new Client({ connectionString: onServer(h.url) });
  await client.connect();
  await withoutIndexes(client, async () => {
    await client.query(
      `INSERT INTO users (username, email, "passwordHash")
       SELECT 'user' || i, 'user' || i || '@example.com', 'secret' FROM generate_series(1, 1000) i`,
    );
    for (const [status, workerId, count] of [
      ['completed', null, BACKLOG],
      ['pending', null, BACKLOG],
      ['processing', 'worker-1', BACKLOG / 5],
    ]) {
      await client.query(
        `WITH owner AS MATERIALIZED (SELECT array_agg("userId") AS ids FROM users)
         INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "workerId", "availableAt", attempts)
         SELECT ids[1 + i % 1000], 'cat.mp4', 's3://videos/cat.mp4', $1, $2, now() - i * interval '1 ms', i % 2
         FROM owner, generate_series(1, $3) i`,
        [status, workerId, count],
      );
    }
    await client.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "deliveryStatus", "availableAt")
       SELECT "jobId", 'success', 'a@example.com', 'pending', now() - random() * interval '1 hour' FROM video_jobs WHERE status = 'completed'`,
    );
  });
  await client.query('VACUUM ANALYZE');
  await client.end();
  const url = onServer(h.url);
  own = await openHarness({ url, poolSize: 1 }, { url, drop: async () => {} });
  db = new SqlRunner(own.dataSource, true);
}, 120_000);

afterAll(async () => {
  await own.close();
  await h.close();
});

interface Prepared {
  readonly statement: string;
  /** How often the server has planned it. */
  readonly plans: number;
}

const prepared = (): Promise<Prepared[]> =>
  own.dataSource.query(
    'SELECT statement, custom_plans::integer AS plans FROM pg_prepared_statements',
  );

/** The statements of a claim that the server plans at each call. */
async function plannedAnew(claim: () => Promise<unknown>): Promise<Prepared[]> {
  for (let n = 0; n < PLANNED; n += 1) await claim();
  const before = new Map((await prepared()).map(({ statement, plans }) => [statement, plans]));
  expect(before.size).toBeGreaterThan(0);
  for (let n = 0; n < PLANNED; n += 1) await claim();
  return (await prepared()).filter(({ statement, plans }) => plans !== before.get(statement));
}

const terms = { limit: 1, leaseMs: HOUR_MS, workerId: 'worker-2', maxAttempts: 5 };
const rotation = new Rotation();

it.each<[string, () => Promise<unknown>]>([
  ['lost jobs', () => claimLost(db, terms)],
  ['lost jobs but those of one try', () => claimLost(db, terms, null, 4)],
  ['last tries', () => claimLastTries(db, { ...terms, maxAttempts: 2 })],
  ['any job, while some are lost', () => claimAny(db, terms)],
  ['pending jobs', () => claimPending(db, terms)],
  ['pending jobs since a time', () => claimPending(db, terms, new Date(Date.now() - HOUR_MS))],
  ['the next job in turn', () => claimInTurn(db, terms, rotation)],
  ['jobs in turn', () => claimInTurn(db, { ...terms, limit: 10 }, rotation)],
  ['any job in turn', () => claimAnyInTurn(db, terms, rotation)],
  ['jobs in turn up to a limit for each user', () => claimInTurn(db, terms, rotation, 100)],
  ['notifications', () => claimNotifications(db, terms)],
])('a claim of %s keeps its plan, behind a large backlog', async (_, claim) => {
  expect(await plannedAnew(claim)).toEqual([]);
});

it('a claim of any job keeps its plan while no lease has ended', async () => {
  await own.dataSource.query(
    `UPDATE video_jobs SET "availableAt" = now() + interval '1 hour' WHERE status = 'processing'`,
  );
  expect(await plannedAnew(() => claimAny(db, terms))).toEqual([]);
});
