import { claimAnyInTurn, claimInTurn, Rotation } from '../../src/jobs/fair.claiming.js';
import { claimAny, claimLost, claimPending } from '../../src/jobs/job.claiming.js';
import type { Claim } from '../../src/jobs/job.claiming.js';
import { onQueueEvent } from '../../src/jobs/job.events.js';
import { claimNotifications } from '../../src/notifications/notification.claiming.js';
import * as deliveries from '../../src/notifications/notification.sql.js';
import * as inTurn from '../../src/jobs/fair.claiming.sql.js';
import * as inOrder from '../../src/jobs/job.claiming.sql.js';
import { tablesOf } from '../../src/schema/tables.js';
import type { Tables } from '../../src/schema/tables.js';
import type { Statement } from '../../src/sql/statement.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, lapse, makers, video } from './fixtures.js';

let h: Harness;
let db: SqlRunner;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  db = new SqlRunner(h.dataSource, preparedByDefault());
  make = makers(h);
});
// A claim finds every job that is due, so each test begins without jobs.
beforeEach(() => h.dataSource.query('DELETE FROM video_jobs'));
afterAll(() => h.close());

const terms: Claim = { limit: 1, leaseMs: HOUR_MS, workerId: 'w', maxAttempts: 5 };
const NOBODY = '00000000-0000-0000-0000-000000000000';
const ids = (jobs: { jobId: string }[]): string[] => jobs.map(({ jobId }) => jobId);

/** Makes pending jobs of one user, each due one second after the one before. */
async function queue(...attempts: number[]): Promise<string[]> {
  const { userId } = await h.user();
  const jobs = await h.jobs.createJobs(attempts.map(() => ({ ...video, userId })));
  await h.dataSource.query(
    `UPDATE video_jobs j SET attempts = a, "availableAt" = now() - interval '1 h' + i * interval '1 s'
     FROM unnest($1::uuid[], $2::integer[]) WITH ORDINALITY AS u(id, a, i) WHERE j."jobId" = id`,
    [ids(jobs), attempts],
  );
  return ids(jobs);
}

it('the next claim begins with a job that this one found and did not take, before a job that it failed', async () => {
  const [, first, second] = await queue(5, 0, 0, 5);
  const { items, failed, dueUntil } = await claimPending(db, terms);
  expect([ids(items), failed]).toEqual([[first], 2]);
  expect(ids((await claimPending(db, terms, dueUntil)).items)).toEqual([second]);
});

it('notes the loss of a run only for a job that it takes or fails', async () => {
  const jobs = [await make.leased(), await make.leased(), await make.leased()];
  await lapse(h.dataSource, ...jobs);
  const [spent, taken, left] = ids(jobs) as [string, string, string];
  await h.dataSource.query('UPDATE video_jobs SET attempts = 5 WHERE "jobId" = $1', [spent]);
  // The first statement finds the job without a try left. So the second looks at more jobs than it may take.
  const { items, failed } = await claimLost(db, terms);
  expect([ids(items), failed]).toEqual([[taken], 1]);
  const noted = async (jobId: string): Promise<number[]> =>
    (await h.jobs.listAttemptErrors(jobId)).map(({ runNumber }) => runNumber);
  expect([await noted(spent), await noted(taken), await noted(left)]).toEqual([[1], [1], []]);
});

it.each<[string, (t: Tables) => Statement, unknown[]]>([
  ['pending jobs', inOrder.claimPending, ['-infinity', 1]],
  ['any job', inOrder.claimUnlessLost, ['-infinity', 1]],
  ['the next job in turn', inTurn.claimOfNextUser, [NOBODY]],
  ['jobs in turn', inTurn.claimInTurn, [NOBODY, 1]],
])('a claim of %s locks only the job that it takes', async (_, statement, more) => {
  const [, second] = await queue(0, 0, 0);
  const { text } = statement(tablesOf(h.dataSource));
  await h.dataSource.transaction(async (manager) => {
    await manager.query(text, [1, HOUR_MS, 'w', 5, ...more]);
    expect(ids((await claimPending(db, terms)).items)).toEqual([second]);
  });
});

it('a claim of notifications locks only the one that it takes', async () => {
  for (let n = 0; n < 3; n += 1) await make.failed();
  const { text } = deliveries.claimNotifications(tablesOf(h.dataSource));
  await h.dataSource.transaction(async (manager) => {
    await manager.query(text, [1, HOUR_MS, 5, '-infinity', 1]);
    expect((await claimNotifications(db, { ...terms, limit: 10 })).items).toHaveLength(2);
  });
});

it('a claim of more jobs than one statement may take leaves none behind', async () => {
  const waiting = await queue(...Array.from({ length: 1_500 }, () => 0));
  const wanted = { ...terms, limit: 1_400 };
  const first = await claimPending(db, wanted);
  expect([first.items.length, first.more]).toEqual([1_000, true]);
  const rest = await claimPending(db, { ...wanted, limit: 400 }, first.dueUntil);
  expect(new Set(ids([...first.items, ...rest.items]))).toEqual(new Set(waiting.slice(0, 1_400)));
  // The jobs of one user alone.
  await h.dataSource.query('DELETE FROM video_jobs');
  await queue(...Array.from({ length: 1_500 }, () => 0));
  expect((await claimInTurn(db, wanted, new Rotation())).items).toHaveLength(1_400);
});

it('claims jobs and notifications that have been due for ever', async () => {
  const job = await make.pending();
  const [claimed] = (
    await h.dataSource.query(`UPDATE video_jobs SET "availableAt" = '-infinity' RETURNING "jobId"`)
  )[0] as VideoJob[];
  expect(claimed!.jobId).toBe(job.jobId);
  expect(ids(await h.jobs.claimJobs())).toEqual([job.jobId]);
  const failed = await make.failed();
  await h.dataSource.query(`UPDATE notification_log SET "availableAt" = '-infinity'`);
  const { items } = await claimNotifications(db, { limit: 5, leaseMs: 1, maxAttempts: 5 });
  expect(ids(items)).toEqual([failed.jobId]);
});

it.each<[string, (db: SqlRunner, claim: Claim) => Promise<VideoJob[]>]>([
  ['age', claimAny],
  ['fair', (runner, claim) => claimAnyInTurn(runner, claim, new Rotation())],
])('ends where a trigger of the host keeps jobs from being failed, by %s', async (_, claim) => {
  const { userId } = await h.user();
  await h.dataSource.query(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl", attempts)
     SELECT $1, 'a.mp4', 's3://videos/a.mp4', 5 FROM generate_series(1, 1001)`,
    [userId],
  );
  await h.dataSource.query(
    `CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
     CREATE TRIGGER veto BEFORE UPDATE ON video_jobs FOR EACH ROW EXECUTE FUNCTION veto()`,
  );
  let statements = 0;
  const counting: SqlRunner = Object.create(db, {
    run: {
      value: (...args: Parameters<SqlRunner['run']>) => {
        statements += 1;
        if (statements > 50) throw new Error('The claim does not end.');
        return db.run(...args);
      },
    },
  });
  try {
    expect(await claim(counting, terms)).toEqual([]);
  } finally {
    await h.dataSource.query('DROP TRIGGER veto ON video_jobs; DROP FUNCTION veto');
  }
});

it('a claim that took nothing although something is due does not ask to be repeated at once', async () => {
  await make.pending();
  await h.dataSource.query(
    `CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
     CREATE TRIGGER veto BEFORE UPDATE ON video_jobs FOR EACH ROW EXECUTE FUNCTION veto()`,
  );
  try {
    expect(await claimPending(db, terms)).toMatchObject({ items: [], more: false });
  } finally {
    await h.dataSource.query('DROP TRIGGER veto ON video_jobs; DROP FUNCTION veto');
  }
});

it('wakes the deliverers for the jobs that it has failed, also if the claim itself fails then', async () => {
  const [spent] = await queue(5, 0);
  const events: string[] = [];
  const stop = onQueueEvent(h.dataSource, ({ queue: name, count }) =>
    events.push(`${count} ${name}`),
  );
  let statements = 0;
  const breaking: SqlRunner = Object.create(db, {
    run: {
      value: (...args: Parameters<SqlRunner['run']>) => {
        statements += 1;
        if (statements > 2) throw new Error('The connection was lost.');
        return db.run(...args);
      },
    },
  });
  await expect(claimPending(breaking, terms)).rejects.toThrow('The connection was lost.');
  stop();
  expect(await h.jobs.getJob(spent!)).toMatchObject({ status: 'failed' });
  expect(events).toEqual(['1 notifications']);
});
