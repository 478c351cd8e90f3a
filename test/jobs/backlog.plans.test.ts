import { Client } from 'pg';
import { claimAnyInTurn, claimInTurn, Rotation } from '../../src/jobs/fair.claiming.js';
import { claimAny, claimLost, claimPending } from '../../src/jobs/job.claiming.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { onServer } from '../support/server.js';
import { HOUR_MS } from './fixtures.js';
import { explain, mostRowsOfANode, QueryRecorder, scannedTables } from './plan.js';

// The server analyzes tables now and then. A backlog often comes when the last analysis saw an empty queue. Then the
// planner expects no row that can be claimed, and all indexes by status look equally good.

const BACKLOG = 10_000;

let h: Harness;
let client: Client;
const recorder = new QueryRecorder();

beforeAll(async () => {
  h = await openHarness({ logger: recorder });
  client = new Client({ connectionString: onServer(h.url) });
  await client.connect();
  for (const table of ['video_jobs', 'notification_log']) {
    await client.query(`ALTER TABLE ${table} SET (autovacuum_enabled = false)`);
  }
  await client.query(
    `INSERT INTO users (username, email, "passwordHash")
     SELECT 'user' || i, 'user' || i || '@example.com', 'secret' FROM generate_series(1, 100) i`,
  );
  const add = (status: string, workerId: string | null, availableAt: string) =>
    client.query(
      `WITH owner AS MATERIALIZED (SELECT array_agg("userId") AS ids FROM users)
       INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "workerId", "availableAt")
       SELECT ids[1 + i % 100], 'cat.mp4', 's3://videos/cat.mp4', $1, $2, ${availableAt}
       FROM owner, generate_series(1, ${BACKLOG}) i`,
      [status, workerId],
    );
  const notify = (deliveryStatus: string, jobs: string) =>
    client.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "deliveryStatus")
       SELECT "jobId", 'success', 'a@example.com', $1 FROM video_jobs WHERE status = $2`,
      [deliveryStatus, jobs],
    );
  await add('completed', null, 'now()');
  await notify('sent', 'completed');
  await client.query('VACUUM ANALYZE');
  await add('pending', null, `now() - i * interval '1 ms'`);
  await add('processing', 'worker-1', `now() + interval '1 hour'`);
  await notify('pending', 'processing');
}, 120_000);

afterAll(async () => {
  await client.end();
  await h.close();
});

const db = (): SqlRunner => new SqlRunner(h.dataSource, true);
const terms = { limit: 1, leaseMs: HOUR_MS, workerId: 'worker-2', maxAttempts: 5 };

it.each<[string, () => Promise<unknown>]>([
  ['pending jobs', () => claimPending(db(), terms)],
  ['lost jobs', () => claimLost(db(), terms)],
  ['any job', () => claimAny(db(), terms)],
  ['the next job in turn', () => claimInTurn(db(), terms, new Rotation())],
  ['two jobs in turn', () => claimInTurn(db(), { ...terms, limit: 2 }, new Rotation())],
  ['any job in turn', () => claimAnyInTurn(db(), terms, new Rotation())],
  ['any two jobs in turn', () => claimAnyInTurn(db(), { ...terms, limit: 2 }, new Rotation())],
  ['notifications', () => h.notifications.claimNotifications({ limit: 1 })],
])('a claim of %s reads only what it takes of a backlog that no analysis saw', async (_, claim) => {
  const plan = await explain(client, await recorder.sentBy(claim));
  expect(scannedTables(plan).filter((table) => table !== 'processing_state')).toEqual([]);
  expect(mostRowsOfANode(plan)).toBeLessThanOrEqual(10);
});
