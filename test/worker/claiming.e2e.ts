import { Client } from 'pg';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { claimLost, claimPending } from '../../src/jobs/job.claiming.js';
import * as statements from '../../src/jobs/job.claiming.sql.js';
import { tablesOf } from '../../src/schema/tables.js';
import { Claimer } from '../../src/worker/claimer.js';
import { RESULT } from './app.js';
import { World } from './world.js';

const JOBS = 100_000;
const BATCH = 1_000;
const CLAIM = { leaseMs: 3_000, maxAttempts: 5, workerId: 'worker' };

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

/** How many pages a step of a claim of four jobs touches, and how many ms it takes in the server. */
async function costOf(
  step: 'pending' | 'lost',
  dueFrom: Date | null,
): Promise<{ pages: number; ms: number }> {
  const from = dueFrom?.toISOString() ?? '-infinity';
  const { leaseMs, workerId, maxAttempts } = CLAIM;
  await client.query('BEGIN');
  const { rows } = await client.query<{
    'QUERY PLAN': {
      Plan: Record<'Shared Hit Blocks' | 'Shared Read Blocks', number>;
      'Execution Time': number;
    }[];
  }>(
    `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
     EXECUTE ${step}(4, ${leaseMs}, '${workerId}', ${maxAttempts}, '${from}', 4${step === 'lost' ? ', 4' : ''})`,
  );
  await client.query('ROLLBACK');
  const [plan] = rows[0]!['QUERY PLAN'];
  const { 'Shared Hit Blocks': hit, 'Shared Read Blocks': read } = plan!.Plan;
  return { pages: hit + read, ms: plan!['Execution Time'] };
}

const told = ({ pages, ms }: { pages: number; ms: number }): string => `${pages} pages, ${ms} ms`;

it(`claims stay cheap during a long transaction, after ${JOBS} jobs`, async () => {
  const { dataSource, jobs } = world.harness;
  const tables = tablesOf(dataSource);
  await client.query(`PREPARE pending AS ${statements.claimPending(tables).text}`);
  await client.query(`PREPARE lost AS ${statements.claimLost(tables).text}`);
  await oldTransaction.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await oldTransaction.query('SELECT FROM video_jobs');

  const db = new SqlRunner(dataSource, preparedByDefault());
  const looks: Record<'pending' | 'lost', (Date | null)[]> = { pending: [], lost: [] };
  const pending = new Claimer((limit, dueFrom) => {
    looks.pending.push(dueFrom);
    return claimPending(db, { limit, ...CLAIM }, dueFrom);
  });
  const lost = new Claimer((limit, dueFrom) => {
    looks.lost.push(dueFrom);
    return claimLost(db, { limit, ...CLAIM }, dueFrom, CLAIM.maxAttempts - 1);
  });
  await batch(BATCH);
  const fresh = { pending: await costOf('pending', null), lost: await costOf('lost', null) };
  const start = performance.now();
  for (let done = 0; done < JOBS; done += BATCH) {
    await lost.next(BATCH, false);
    const claimed = await pending.next(BATCH, false);
    expect(claimed.items).toHaveLength(BATCH);
    await jobs.completeJobs(claimed.items.map((job) => ({ job, result: RESULT })));
    await batch(BATCH);
  }
  const elapsed = performance.now() - start;
  // The leases of the completed jobs would be over by now, so their old index entries are in the way, too.
  await new Promise((resolve) => setTimeout(resolve, CLAIM.leaseMs));
  await lost.next(BATCH, false);
  await lost.next(BATCH, false);
  for (const step of ['pending', 'lost'] as const) {
    const dueFrom = looks[step].findLast((from) => from !== null) ?? null;
    const [bounded, full] = [await costOf(step, dueFrom), await costOf(step, null)];
    const fullLooks = looks[step].filter((from) => from === null).length;
    process.stdout.write(
      `a claim of 4 ${step} jobs: ${told(fresh[step])} at first; behind ${JOBS} jobs ` +
        `${told(bounded)}, and by a look at the whole queue ${told(full)} ` +
        `(${fullLooks} of ${looks[step].length} claims)\n`,
    );
    // There are many dead index entries, and the claim of a worker does not read them.
    expect(full.pages).toBeGreaterThan(1_000);
    expect(bounded.pages).toBeLessThan(fresh[step].pages + 200);
    expect(fullLooks).toBeLessThanOrEqual(2 + elapsed / 500);
  }
});
