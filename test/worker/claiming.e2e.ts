import { Client } from 'pg';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { claimPending } from '../../src/jobs/job.claiming.js';
import { claimPending as claimStatement } from '../../src/jobs/job.claiming.sql.js';
import { tablesOf } from '../../src/schema/tables.js';
import { Claimer } from '../../src/worker/claimer.js';
import { RESULT } from './app.js';
import { World } from './world.js';

const JOBS = 100_000;
const BATCH = 1_000;
const CLAIM = { leaseMs: 30_000, maxAttempts: 5, workerId: 'worker' };

let world: World;
let client: Client;
let oldTransaction: Client;
beforeAll(async () => {
  world = await World.open();
  [client, oldTransaction] = [1, 2].map(
    () => new Client({ connectionString: world.harness.url }),
  ) as [Client, Client];
  await Promise.all([client.connect(), oldTransaction.connect()]);
});
afterAll(async () => {
  await Promise.all([client.end(), oldTransaction.end()]);
  await world.close();
});

const batch = (size: number): Promise<unknown> =>
  world.create(...Array.from({ length: size }, () => 'a'));

/** How many pages a claim of four jobs touches, from the time on that a worker names. */
async function buffersOfClaim(dueFrom: Date | null): Promise<number> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  const { leaseMs, workerId, maxAttempts } = CLAIM;
  await client.query('BEGIN');
  const { rows } = await client.query<{
    'QUERY PLAN': { Plan: Record<'Shared Hit Blocks' | 'Shared Read Blocks', number> }[];
  }>(
    `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
     EXECUTE claim(4, ${leaseMs}, '${workerId}', ${maxAttempts}, '${from}', 4)`,
  );
  await client.query('ROLLBACK');
  const plan = rows[0]?.['QUERY PLAN'][0]?.Plan;
  return (plan?.['Shared Hit Blocks'] ?? 0) + (plan?.['Shared Read Blocks'] ?? 0);
}

it(`claims stay cheap behind a long transaction, after ${JOBS} jobs`, async () => {
  const { dataSource, jobs } = world.harness;
  await client.query(`PREPARE claim AS ${claimStatement(tablesOf(dataSource)).text}`);
  await oldTransaction.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await oldTransaction.query('SELECT FROM video_jobs');

  const looks: (Date | null)[] = [];
  const db = new SqlRunner(dataSource, preparedByDefault());
  const claimer = new Claimer((limit, dueFrom) => {
    looks.push(dueFrom);
    return claimPending(db, { limit, ...CLAIM }, dueFrom);
  });
  await batch(BATCH);
  const fresh = await buffersOfClaim(null);
  const start = performance.now();
  for (let done = 0; done < JOBS; done += BATCH) {
    const claimed = await claimer.next(BATCH, false);
    expect(claimed.items).toHaveLength(BATCH);
    await jobs.completeJobs(claimed.items.map((job) => ({ job, result: RESULT })));
    await batch(BATCH);
  }
  const elapsed = performance.now() - start;
  const dueFrom = looks.findLast((from) => from !== null) ?? null;
  const [bounded, full] = [await buffersOfClaim(dueFrom), await buffersOfClaim(null)];
  const fullLooks = looks.filter((from) => from === null).length;
  process.stdout.write(
    `pages touched by a claim of 4 jobs: ${fresh} at first, ${bounded} behind ${JOBS} jobs, ` +
      `${full} by a look at the whole queue (${fullLooks} of ${looks.length} claims)\n`,
  );
  // The pile is there, and a worker's claim does not read it.
  expect(full).toBeGreaterThan(1_000);
  expect(bounded).toBeLessThan(fresh + 200);
  expect(fullLooks).toBeLessThanOrEqual(1 + elapsed / 500);
});
