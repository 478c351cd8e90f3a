import { jest } from '@jest/globals';
import { claimInTurn, Rotation } from '../../src/jobs/fair.claiming.js';
import { JobService } from '../../src/jobs/job.service.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { fairFixtures } from './fair.fixtures.js';
import { HOUR_MS, lapse, makers, openPeer, stored, video } from './fixtures.js';
import type { Peer } from './fixtures.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
let newUsers: ReturnType<typeof fairFixtures>['newUsers'];
let backlog: ReturnType<typeof fairFixtures>['backlog'];
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
  make = makers(h);
  ({ newUsers, backlog } = fairFixtures(h));
});
// A claim finds every job that is due, so each test begins without jobs.
beforeEach(() => h.dataSource.query('DELETE FROM video_jobs'));
afterAll(async () => {
  await other.close();
  await h.close();
});

/** UUIDs that come before and after the ids of all users. */
const [NOBODY_BEFORE, NOBODY_AFTER] = ['0', 'f'].map((digit) =>
  '00000000-0000-0000-0000-000000000000'.replaceAll('0', digit),
) as [string, string];

const ids = (jobs: { jobId: string }[]): string[] => jobs.map(({ jobId }) => jobId);
const inTurn = (limit: number, more: object = {}): Promise<VideoJob[]> =>
  h.jobs.claimJobs({ limit, order: 'fair', leaseMs: HOUR_MS, ...more });

const capped = (limit: number, maxRunningPerUser: number): Promise<VideoJob[]> =>
  h.jobs.claimJobs({ limit, leaseMs: HOUR_MS, maxRunningPerUser });

/** Users who have jobs, none of which is due. */
async function scheduledUsers(count: number): Promise<void> {
  await h.dataSource.query(
    `WITH u AS (
       INSERT INTO users (username, email, "passwordHash")
       SELECT 'later' || i || $2, 'later' || i || $2 || '@example.com', 'secret'
       FROM generate_series(1, $1) i RETURNING "userId"
     )
     INSERT INTO video_jobs ("userId", filename, "videoUrl", "availableAt")
     SELECT "userId", 'a.mp4', 's3://videos/a.mp4', now() + interval '1 day' FROM u`,
    [count, String(Math.random())],
  );
}

const byUser = (jobs: VideoJob[]): Map<string, number> =>
  jobs.reduce(
    (counts, { userId }) => counts.set(userId, (counts.get(userId) ?? 0) + 1),
    new Map<string, number>(),
  );

describe("claimJobs({ order: 'fair' })", () => {
  it('goes on after the user whose turn was last, however long the jobs of each user have waited', async () => {
    const users = (await newUsers(6)).toSorted();
    for (const userId of users) await backlog(userId, 3);
    // The jobs of the users whose turn is later have waited longer.
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" - interval '1 h' * array_position($1::uuid[], "userId")`,
      [users],
    );
    const rotation = new Rotation();
    rotation.lastUser = NOBODY_BEFORE;
    const db = new SqlRunner(h.dataSource, preparedByDefault());
    const claim = { limit: 2, leaseMs: HOUR_MS, workerId: 'w', maxAttempts: 5 };
    const served: string[] = [];
    for (let n = 0; n < 3; n += 1) {
      const { items } = await claimInTurn(db, claim, rotation);
      served.push(...items.map(({ userId }) => userId));
    }
    expect(served).toEqual(users);
  });

  it.each([1, 10])('finds nothing where nothing is due (%i)', async (limit) => {
    expect(await inTurn(limit)).toEqual([]);
    await make.leased();
    await make.unleased();
    await make.failed();
    await scheduledUsers(3);
    expect(await inTurn(limit)).toEqual([]);
  });

  it('a claim of one job goes on behind a user whose jobs are scheduled, locked, or have no try left', async () => {
    const users = (await newUsers(4)).toSorted() as [string, string, string, string];
    for (const userId of users) await backlog(userId, 2);
    const [scheduled, locked, spent, due] = users;
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" + interval '1 day' WHERE "userId" = $1`,
      [scheduled],
    );
    await h.dataSource.query('UPDATE video_jobs SET attempts = 5 WHERE "userId" = $1', [spent]);
    const db = new SqlRunner(h.dataSource, preparedByDefault());
    const claim = { limit: 1, leaseMs: HOUR_MS, workerId: 'w', maxAttempts: 5 };
    await other.dataSource.transaction(async (manager) => {
      await manager.query('SELECT FROM video_jobs WHERE "userId" = $1 FOR NO KEY UPDATE', [locked]);
      for (const lastUser of [NOBODY_BEFORE, scheduled, locked, spent, due, NOBODY_AFTER]) {
        const [{ jobId }] = await h.dataSource.query(
          `SELECT "jobId" FROM video_jobs WHERE "userId" = $1 ORDER BY "availableAt" LIMIT 1`,
          [due],
        );
        const rotation = new Rotation();
        rotation.lastUser = lastUser;
        const { items, failed } = await claimInTurn(db, claim, rotation);
        expect([ids(items), rotation.lastUser]).toEqual([[jobId], due]);
        // The claim that begins before the user whose jobs have no try left fails these.
        expect(failed).toBe(lastUser === NOBODY_BEFORE ? 2 : 0);
        await h.dataSource.query('DELETE FROM video_jobs WHERE "jobId" = $1', [jobId]);
        await backlog(due, 1);
      }
    });
  });

  it('begins a new run, and returns the job as it is stored', async () => {
    const job = await make.pending();
    const [claimed] = await inTurn(1, { workerId: 'worker-1' });
    expect(claimed).toMatchObject({
      jobId: job.jobId,
      status: 'processing',
      runNumber: 1,
      attempts: 1,
      workerId: 'worker-1',
    });
    expect(await stored(h.dataSource, job.jobId)).toEqual({ ...claimed });
  });

  it('claims of one job send about one statement each, also where most users have only scheduled jobs', async () => {
    await scheduledUsers(100);
    for (const userId of await newUsers(10)) await backlog(userId, 4);
    const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
    for (let n = 0; n < 40; n += 1) expect(await inTurn(1)).toHaveLength(1);
    expect(sent.mock.calls.length).toBeLessThanOrEqual(44);
    sent.mockClear();
    for (let n = 0; n < 10; n += 1) expect(await inTurn(1)).toEqual([]);
    expect(sent.mock.calls.length).toBeLessThanOrEqual(12);
    sent.mockRestore();
  });

  it('takes the oldest job of each user in turn, however many jobs others have', async () => {
    const users = await newUsers(3);
    const backlogs = await Promise.all(users.map((userId, n) => backlog(userId, [200, 4, 2][n]!)));
    const rounds = [
      byUser(await inTurn(3)),
      byUser(await inTurn(1)),
      byUser(await inTurn(1)),
      byUser(await inTurn(1)),
    ];
    expect([...rounds[0]!.values()]).toEqual([1, 1, 1]);
    expect(new Set(rounds.slice(1).flatMap((round) => [...round.keys()]))).toEqual(new Set(users));
    // The third user has no job left, so the other two share the seven places.
    const claimed = await inTurn(7);
    expect(byUser(claimed)).toEqual(
      new Map([
        [users[0]!, 5],
        [users[1]!, 2],
      ]),
    );
    const ofFirst = claimed.filter(({ userId }) => userId === users[0]);
    expect(ids(ofFirst)).toEqual(backlogs[0]!.slice(2, 7));
  });

  it('gives all places to the only user', async () => {
    const [userId] = await newUsers(1);
    const waiting = await backlog(userId!, 32);
    const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
    expect([...ids(await inTurn(1)), ...ids(await inTurn(1))]).toEqual(waiting.slice(0, 2));
    expect(sent.mock.calls.length).toBe(2);
    sent.mockRestore();
    expect(ids(await inTurn(20))).toEqual(waiting.slice(2, 22));
    expect(ids(await inTurn(20))).toEqual(waiting.slice(22));
  });

  it('leaves no place free while a job is due, however different the backlogs are', async () => {
    const users = await newUsers(12);
    for (const [n, userId] of users.entries()) await backlog(userId, n === 5 ? 100 : 1 + (n % 3));
    expect(await inTurn(60)).toHaveLength(60);
  });

  it('a job of another user is in the next claim of every worker, behind any backlog', async () => {
    const [busy, single] = await newUsers(2);
    await backlog(busy!, 2_000);
    const workers = Array.from({ length: 8 }, () => new JobService(h.dataSource));
    const claim = { limit: 1, order: 'fair', leaseMs: HOUR_MS } as const;
    for (const worker of workers) await worker.claimJobs(claim);
    for (const worker of workers) {
      const job = await h.jobs.createJob({ ...video, userId: single! });
      expect(ids(await worker.claimJobs(claim))).toEqual([job.jobId]);
    }
  });

  it('passes over hundreds of users who have only scheduled jobs, and finds the users behind them', async () => {
    await scheduledUsers(700);
    const users = await newUsers(2);
    const waiting = [await backlog(users[0]!, 3), await backlog(users[1]!, 1)].flat();
    const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
    const claimed = [await inTurn(1)];
    expect(sent.mock.calls.length).toBeLessThanOrEqual(5);
    claimed.push(await inTurn(2), await inTurn(10));
    expect(claimed.map((jobs) => jobs.length)).toEqual([1, 2, 1]);
    expect(new Set(claimed.flatMap(ids))).toEqual(new Set(waiting));
    sent.mockClear();
    expect(await inTurn(10)).toEqual([]);
    // No job is due, so the claim looks at no user and sends one statement.
    expect(sent.mock.calls.length).toBe(1);
    sent.mockRestore();
  });

  it('ends where all due jobs are locked, and finds them when the locks are gone', async () => {
    await scheduledUsers(600);
    const job = await make.pending();
    await other.dataSource.transaction(async (manager) => {
      await manager.query(
        `SELECT FROM video_jobs WHERE status = 'pending' AND "availableAt" <= now() FOR NO KEY UPDATE`,
      );
      expect(await inTurn(10)).toEqual([]);
    });
    expect(ids(await inTurn(10))).toEqual([job.jobId]);
  });

  it('takes retries and scheduled jobs when they are due, in the order of waiting', async () => {
    const [userId] = await newUsers(1);
    const [first] = await backlog(userId!, 1);
    const [run] = await inTurn(1);
    await h.jobs.failJob(run!, { errorMessage: 'disk full', retryInMs: HOUR_MS });
    const scheduled = await h.jobs.createJob({
      ...video,
      userId: userId!,
      availableAt: new Date(Date.now() + HOUR_MS),
    });
    const [now] = await backlog(userId!, 1);
    expect(ids(await inTurn(5))).toEqual([now]);
    await lapse(h.dataSource, scheduled);
    expect(ids(await inTurn(5))).toEqual([scheduled.jobId]);
    await lapse(h.dataSource, { jobId: first! });
    expect(await inTurn(5)).toMatchObject([{ jobId: first, runNumber: 2, attempts: 2 }]);
  });

  it('claims the jobs of lost workers before pending jobs', async () => {
    const pending = await make.pending();
    const lost = await make.leased();
    await lapse(h.dataSource, lost);
    expect(ids(await inTurn(1))).toEqual([lost.jobId]);
    expect(ids(await inTurn(1))).toEqual([pending.jobId]);
  });

  it('fails jobs that have no try left in a few statements, and claims the jobs behind them', async () => {
    const [userId] = await newUsers(1);
    await backlog(userId!, 3_000);
    await h.dataSource.query('UPDATE video_jobs SET attempts = 5');
    const due = await make.pending(userId);
    const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
    expect(ids(await inTurn(1))).toEqual([due.jobId]);
    expect(sent.mock.calls.length).toBeLessThan(15);
    sent.mockRestore();
    const [{ failures }] = await h.dataSource.query(
      `SELECT count(*)::integer AS failures FROM notification_log WHERE "notificationType" = 'failure'`,
    );
    expect(failures).toBe(3_000);
    expect(await h.jobs.countJobs()).toMatchObject({ failed: 3_000, processing: 1 });
  });

  it('finds nothing while processing is paused', async () => {
    const { jobId } = await make.pending();
    await h.dataSource.query('UPDATE processing_state SET "pausedAt" = now()');
    for (const limit of [1, 5]) expect(await inTurn(limit)).toEqual([]);
    expect(await inTurn(5, { maxRunningPerUser: 1 })).toEqual([]);
    await h.dataSource.query('UPDATE processing_state SET "pausedAt" = NULL');
    expect(ids(await inTurn(5))).toEqual([jobId]);
  });
});

describe('maxRunningPerUser', () => {
  it('holds also where the claim looks at more jobs, because one has no try left', async () => {
    const [userId] = (await newUsers(1)) as [string];
    const [spent] = await backlog(userId, 6);
    await h.dataSource.query('UPDATE video_jobs SET attempts = 5 WHERE "jobId" = $1', [spent]);
    expect(await capped(4, 2)).toHaveLength(2);
    expect(await h.jobs.countJobs()).toMatchObject({ failed: 1, processing: 2, pending: 3 });
  });

  it('needs order: fair', async () => {
    await expect(h.jobs.claimJobs({ order: 'age', maxRunningPerUser: 1 })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      problems: [{ property: 'maxRunningPerUser' }],
    });
    await expect(h.jobs.claimJobs({ maxRunningPerUser: 0 })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
  });

  it('gives each user at most this many places, also when places stay free', async () => {
    const users = await newUsers(3);
    for (const userId of users) await backlog(userId, 10);
    expect(byUser(await capped(4, 2)).size).toBe(3);
    expect(await capped(50, 2)).toHaveLength(2);
    expect(await capped(50, 2)).toEqual([]);
    expect([...byUser(await capped(50, 3)).values()]).toEqual([1, 1, 1]);
  });

  it('counts the jobs that others started, and frees a place when a job ends in any way', async () => {
    const [userId] = await newUsers(1);
    await backlog(userId!, 10);
    const started = await h.jobs.startJob((await make.pending(userId)).jobId);
    const [a, b] = await capped(50, 3);
    expect(await capped(50, 3)).toEqual([]);
    await h.jobs.completeJob(a!, { resultUrl: 's3://frames/1.zip', frameCount: 1 });
    expect(await capped(50, 3)).toHaveLength(1);
    await h.jobs.failJob(b!, { errorMessage: 'no video stream' });
    expect(await capped(50, 3)).toHaveLength(1);
    await h.jobs.releaseJob(started);
    expect(await capped(50, 3)).toHaveLength(1);
    // More than the limit run already: startJob does not count.
    await h.jobs.startJob((await make.pending(userId)).jobId);
    expect(await capped(50, 3)).toEqual([]);
    expect(await capped(50, 1)).toEqual([]);
  });

  it('a lost job keeps its place, and is claimed again first', async () => {
    const [userId] = await newUsers(1);
    const lost = await make.leased('worker-1', userId);
    await backlog(userId!, 3);
    await lapse(h.dataSource, lost);
    expect(ids(await capped(50, 1))).toEqual([lost.jobId]);
    expect(await capped(50, 1)).toEqual([]);
  });

  it('passes over users for whom another claim is running, without waiting', async () => {
    const users = await newUsers(40);
    for (const userId of users) await backlog(userId, 1);
    await other.dataSource.transaction(async (manager) => {
      await manager.query(`SELECT FROM users WHERE "userId" = ANY($1) FOR NO KEY UPDATE`, [
        users.slice(1),
      ]);
      expect(byUser(await capped(5, 2))).toEqual(new Map([[users[0], 1]]));
    });
    expect(await capped(50, 2)).toHaveLength(39);
  });

  it('ends, wherever it begins, while other claims hold more users than one statement looks at', async () => {
    const users = (await newUsers(40)).toSorted();
    await other.dataSource.transaction(async (manager) => {
      await manager.query(`SELECT FROM users WHERE "userId" = ANY($1) FOR NO KEY UPDATE`, [users]);
      for (const userId of users) await backlog(userId, 1);
      const db = new SqlRunner(h.dataSource, preparedByDefault());
      const terms = { limit: 5, leaseMs: HOUR_MS, workerId: 'worker', maxAttempts: 5 };
      for (const lastUser of [NOBODY_BEFORE, ...users, NOBODY_AFTER]) {
        const rotation = Object.assign(new Rotation(), { lastUser });
        const { items, passedOver } = await claimInTurn(db, terms, rotation, 2);
        expect({ items, passedOver }).toEqual({ items: [], passedOver: true });
      }
    });
  });

  it('fails jobs that have no try left, and needs no place for that', async () => {
    const [userId] = await newUsers(1);
    await backlog(userId!, 3);
    await h.dataSource.query('UPDATE video_jobs SET attempts = 5');
    const due = await make.pending(userId);
    await make.leased('worker-1', userId);
    expect(ids(await capped(1, 2))).toEqual([due.jobId]);
    expect(await h.jobs.countJobs()).toMatchObject({ failed: 3, processing: 2 });
  });

  it('fails thousands of jobs that have no try left in a few statements, and keeps the limit', async () => {
    const [userId] = await newUsers(1);
    await backlog(userId!, 3_000);
    await h.dataSource.query('UPDATE video_jobs SET attempts = 5');
    const due = await backlog(userId!, 5);
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = now() + "attempts" * interval '1 ms' - interval '1 s'
       WHERE "jobId" = ANY($1)`,
      [due],
    );
    const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
    expect(await capped(2, 2)).toHaveLength(2);
    expect(sent.mock.calls.length).toBeLessThan(60);
    sent.mockRestore();
    expect(await h.jobs.countJobs()).toMatchObject({ failed: 3_000, processing: 2, pending: 3 });
  });
});
