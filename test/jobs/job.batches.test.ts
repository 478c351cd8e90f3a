import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { jest } from '@jest/globals';
import {
  InvalidJobTransitionError,
  JobNotFoundError,
  LeaseLostError,
  UserNotFoundError,
} from '../../src/errors.js';
import type { JobService } from '../../src/jobs/job.service.js';
import { JobStatus } from '../../src/schema/entities/index.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import { until } from '../support/until.js';
import { result, video, violations } from './fixtures.js';
import { lockWaiters, outcomes as outcomesOf, times } from './race.js';

// One statement serves all calls that are made at the same time. No call may be affected by the others.

/** A UUID of version 7. */
const TIME_ORDERED = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

let h: Harness;
beforeAll(async () => {
  h = await openHarness({ poolSize: 20 });
});
beforeEach(() => h.dataSource.query('DELETE FROM users'));
afterEach(async () => {
  jest.restoreAllMocks();
  expect(await violations(h.dataSource)).toEqual([]);
});
afterAll(() => h.close());

const users = (count: number): Promise<{ userId: string }[]> =>
  Promise.all(times(count, () => h.user()));

/** Locks rows in another transaction. @returns a function that ends the transaction */
async function lock(table: string, condition: string, values: unknown[]): Promise<() => unknown> {
  const queryRunner = h.dataSource.createQueryRunner();
  await queryRunner.startTransaction();
  await queryRunner.query(`SELECT FROM ${table} WHERE ${condition} FOR UPDATE`, values);
  return async () => {
    await queryRunner.commitTransaction();
    await queryRunner.release();
  };
}

async function created(count: number): Promise<VideoJob[]> {
  const { userId } = await h.user();
  await h.jobs.createJobs(times(count, () => ({ ...video, userId })));
  return h.jobs.claimJobs({ limit: count });
}

/** Counts the statements of a kind that some work sends. */
async function statementsOf(text: string, work: () => Promise<unknown>): Promise<number> {
  const sent = jest.spyOn(h.dataSource.logger, 'logQuery');
  await work();
  return sent.mock.calls.filter(([statement]) => statement.includes(text)).length;
}

describe('creations at once', () => {
  it('share statements, and return each its own job', async () => {
    const [first, second] = await users(2);
    const inputs = times(200, (index) => ({
      ...video,
      userId: (index % 2 === 0 ? first : second)!.userId,
      filename: `${index}.mp4`,
      availableAt: index % 3 === 0 ? new Date(Date.now() + 60_000 + index) : undefined,
    }));
    let jobs: VideoJob[] = [];
    const statements = await statementsOf('INSERT INTO "video_jobs"', async () => {
      jobs = await Promise.all(inputs.map((input) => h.jobs.createJob(input)));
    });
    expect(statements).toBeLessThan(20);
    expect(new Set(jobs.map(({ jobId }) => jobId)).size).toBe(200);
    for (const [index, job] of jobs.entries()) {
      expect(job.jobId).toMatch(TIME_ORDERED);
      const { availableAt, ...input } = inputs[index]!;
      expect(job).toMatchObject({ ...input, status: JobStatus.PENDING, runNumber: 0 });
      if (availableAt !== undefined) expect(job.availableAt).toEqual(availableAt);
      expect(await h.jobs.getJob(job.jobId)).toEqual(job);
    }
  });

  it('are not affected by a date that a caller changes after its call', async () => {
    const [a, b, c] = await users(3);
    const due = new Date('2030-01-31T12:00:00Z');
    const calls = [a, b, c].map((user, index) =>
      h.jobs.createJob({
        ...video,
        userId: user!.userId,
        ...(index === 1 ? { availableAt: due } : {}),
      }),
    );
    const list = h.jobs.createJobs([{ ...video, userId: a!.userId, availableAt: due }]);
    due.setTime(Number.NaN);
    const made = [...(await Promise.all(calls)), ...(await list)];
    for (const { jobId, availableAt } of made) {
      expect((await h.jobs.getJob(jobId)).availableAt).toEqual(availableAt);
    }
    expect([made[1], made[3]]).toMatchObject([
      { availableAt: new Date('2030-01-31T12:00:00Z') },
      { availableAt: new Date('2030-01-31T12:00:00Z') },
    ]);
  });

  it('fail one by one for unknown users', async () => {
    const [user] = await users(1);
    const unknown = randomUUID();
    const outcomes = await Promise.allSettled(
      times(50, (index) =>
        h.jobs.createJob({ ...video, userId: index % 10 === 3 ? unknown : user!.userId }),
      ),
    );
    const refused = outcomes.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(5);
    for (const { reason } of refused as PromiseRejectedResult[]) {
      expect(reason).toBeInstanceOf(UserNotFoundError);
      expect(reason).toMatchObject({ userIds: [unknown] });
    }
    expect(await h.jobs.countJobs()).toMatchObject({ pending: 45 });
  });

  it('wait one by one for a user whose row is locked', async () => {
    const [locked, free] = await users(2);
    const unlock = await lock('users', '"userId" = $1', [locked!.userId]);
    const held = times(6, () => h.jobs.createJob({ ...video, userId: locked!.userId }));
    const others = times(30, () => h.jobs.createJob({ ...video, userId: free!.userId }));
    await Promise.all(others);
    await lockWaiters(h.dataSource, 6);
    // The same holds if other calls for this user already wait.
    await h.jobs.createJob({ ...video, userId: free!.userId });
    await unlock();
    await Promise.all(held);
    expect(await h.jobs.countJobs()).toMatchObject({ pending: 37 });
  });

  it('fail one by one if the database refuses them', async () => {
    const [user] = await users(1);
    const { userId } = user!;
    await h.dataSource.query(
      `ALTER TABLE video_jobs ADD CONSTRAINT "only_mp4" CHECK (filename LIKE '%.mp4') NOT VALID`,
    );
    try {
      const outcomes = await Promise.allSettled(
        times(20, (index) =>
          h.jobs.createJob({ ...video, userId, filename: index === 7 ? 'a.avi' : 'a.mp4' }),
        ),
      );
      expect(outcomes.map(({ status }) => status)).toEqual(
        times(20, (index) => (index === 7 ? 'rejected' : 'fulfilled')),
      );
      expect((outcomes[7] as PromiseRejectedResult).reason.message).toContain('only_mp4');
      expect(await h.jobs.countJobs()).toMatchObject({ pending: 19 });
    } finally {
      await h.dataSource.query('ALTER TABLE video_jobs DROP CONSTRAINT "only_mp4"');
    }
  });
});

describe('creations at once that get no answer', () => {
  it('are not sent again, because the server may have executed them', async () => {
    const { userId } = await h.user();
    const options = { url: h.url, extra: { query_timeout: 1_500 } };
    const impatient = await openHarness(options, { url: h.url, drop: async () => {} });
    const locker = h.dataSource.createQueryRunner();
    await locker.startTransaction();
    await locker.query('LOCK TABLE video_jobs IN SHARE MODE');
    const calls = times(6, () => impatient.jobs.createJob({ ...video, userId }));
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.map(({ status }) => status)).toEqual(times(6, () => 'rejected'));
    await locker.commitTransaction();
    await locker.release();
    await until(async () => {
      const others = `datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'`;
      return (await query(h.url, `SELECT FROM pg_stat_activity WHERE ${others}`)).length === 0;
    });
    expect((await h.jobs.countJobs()).pending).toBeLessThanOrEqual(6);
    await impatient.close();
  });
});

describe('claims at once', () => {
  it('share the due jobs, each up to its limit and with its own lease and worker', async () => {
    const { userId } = await h.user();
    await h.jobs.createJobs(times(50, () => ({ ...video, userId })));
    const claims = await Promise.all(
      times(30, (index) =>
        h.jobs.claimJobs({ limit: 2, workerId: `w${index % 3}`, leaseMs: 60_000 * (index + 1) }),
      ),
    );
    expect(Math.max(...claims.map(({ length }) => length))).toBe(2);
    expect(new Set(claims.flat().map(({ jobId }) => jobId)).size).toBe(50);
    for (const [index, jobs] of claims.entries()) {
      for (const { workerId, availableAt, startedAt } of jobs) {
        expect(workerId).toBe(`w${index % 3}`);
        expect(availableAt.getTime() - startedAt!.getTime()).toBe(60_000 * (index + 1));
      }
    }
    expect(await h.jobs.claimJobs()).toEqual([]);
  });

  it('find jobs behind those that have no try left', async () => {
    const { userId } = await h.user();
    await h.jobs.createJobs(times(12, () => ({ ...video, userId })));
    await h.dataSource.query(
      `UPDATE video_jobs SET attempts = 5, "runNumber" = 5 WHERE "jobId" IN
         (SELECT "jobId" FROM video_jobs ORDER BY "availableAt", "jobId" LIMIT 8)`,
    );
    const claims = await Promise.all(times(4, () => h.jobs.claimJobs({ limit: 1 })));
    const claimed = claims.flat().length;
    // The call skips rows that another transaction has locked. The next call finds them.
    const rest = await h.jobs.claimJobs();
    expect(claimed + rest.length).toBe(4);
    expect(await h.jobs.countJobs()).toMatchObject({ processing: 4, failed: 8 });
  });
});

describe('completions at once', () => {
  it('share statements, and return each its own job and notification', async () => {
    const jobs = await created(100);
    let done: Awaited<ReturnType<JobService['completeJob']>>[] = [];
    const statements = await statementsOf('"notification_log"', async () => {
      done = await Promise.all(
        jobs.map((job, frameCount) => h.jobs.completeJob(job, { ...result, frameCount })),
      );
    });
    expect(statements).toBeLessThan(10);
    for (const [frameCount, { job, notification }] of done.entries()) {
      const { jobId } = jobs[frameCount]!;
      expect(job).toMatchObject({ jobId, frameCount, status: JobStatus.COMPLETED });
      expect(notification).toMatchObject({ jobId, runNumber: 1 });
      expect(notification.notificationId).toMatch(TIME_ORDERED);
      const ageMs =
        Date.now() - Number.parseInt(notification.notificationId.slice(0, 13).replace('-', ''), 16);
      expect(Math.abs(ageMs)).toBeLessThan(60_000);
    }
  });

  it('fail one by one if they are refused', async () => {
    const jobs = await created(10);
    await h.jobs.failJob(jobs[2]!, { errorMessage: 'no', retryInMs: 0 });
    const handles = jobs.map((job) => ({ ...job }));
    Object.assign(handles[5]!, { jobId: randomUUID() });
    await h.dataSource.query(
      `UPDATE video_jobs SET status = 'pending', "startedAt" = NULL WHERE "jobId" = $1`,
      [jobs[7]!.jobId],
    );
    handles[7]!.workerId = null as never;
    const outcomes = await Promise.allSettled(
      handles.map((handle) => h.jobs.completeJob(handle, result)),
    );
    const reasons = outcomes.map((outcome) =>
      outcome.status === 'rejected' ? outcome.reason.constructor : undefined,
    );
    expect(reasons).toEqual(
      times(
        10,
        (index) =>
          ({ 2: LeaseLostError, 5: JobNotFoundError, 7: InvalidJobTransitionError })[index],
      ),
    );
    expect(await h.jobs.countJobs()).toMatchObject({ completed: 7 });
  });

  it('wait one by one for a job that is locked', async () => {
    const jobs = await created(20);
    const unlock = await lock('video_jobs', '"jobId" = $1', [jobs[0]!.jobId]);
    const [held, ...others] = jobs.map((job) => h.jobs.completeJob(job, result));
    await Promise.all(others);
    await lockWaiters(h.dataSource, 1);
    await unlock();
    expect((await held!).job).toMatchObject({ status: JobStatus.COMPLETED });
  });
});

describe('completions of one job in one turn', () => {
  it.each([
    ['for one handle', (job: VideoJob) => job],
    [
      'for one handle in both cases',
      (job: VideoJob, index: number) => ({
        ...job,
        jobId: index === 1 ? job.jobId.toUpperCase() : job.jobId,
      }),
    ],
    [
      'for handles of several runs',
      (job: VideoJob, index: number) => ({ ...job, runNumber: job.runNumber + (index % 2) }),
    ],
  ])('%s: exactly one is accepted, and its result is kept', async (_, handle) => {
    const jobs = await created(20);
    const counts = [1, 2, 3];
    const accepted = await Promise.all(
      jobs.map((job) =>
        outcomesOf(
          counts.map((frameCount, index) =>
            h.jobs.completeJob(handle(job, index), { ...result, frameCount }),
          ),
        ),
      ),
    );
    for (const { done, refused } of accepted) {
      expect(refused).toEqual(['LEASE_LOST', 'LEASE_LOST']);
      const [{ job, notification }] = done as [(typeof done)[number]];
      expect(await h.jobs.getJob(job.jobId)).toEqual(job);
      const { notifications } = await h.notifications.listNotifications({ jobId: job.jobId });
      expect(notifications).toEqual([notification]);
    }
  });
});

describe('a server that is silent on four connections', () => {
  it.each<[string, (jobs: JobService, userId: string) => () => Promise<unknown>, string]>([
    ['createJob', (jobs, userId) => () => jobs.createJob({ ...video, userId }), 'done'],
    [
      'completeJob',
      (jobs) => () =>
        jobs.completeJob({ jobId: randomUUID(), runNumber: 1, workerId: 'w' }, result),
      'JOB_NOT_FOUND',
    ],
  ])('does not delay later calls of %s', async (_, make, answer) => {
    const proxy = await Proxy.start(h.url);
    // With this long timeout, no call is given up during the test.
    const options = { url: proxy.url, replyTimeoutMs: 3_600_000 };
    const own = await openHarness(options, { url: h.url, drop: async () => {} });
    try {
      const { userId } = await h.user();
      const call = make(own.jobs, userId);
      const runners = times(10, () => own.dataSource.createQueryRunner());
      const ports: number[] = [];
      for (const runner of runners) {
        const [row] = await runner.query('SELECT inet_client_port() AS port');
        ports.push(row.port);
      }
      for (const runner of runners) await runner.release();
      // The pool gives out the connections that were returned last. Some of these go silent.
      for (const port of ports.slice(-4)) proxy.freeze(port);
      const silent = Promise.allSettled(times(400, call));
      const answers = await Promise.all(
        times(20, call).map((called) =>
          called.then(
            () => 'done',
            ({ code }: { code: string }) => code,
          ),
        ),
      );
      expect(new Set(answers)).toEqual(new Set([answer]));
      proxy.cut();
      await silent;
    } finally {
      await own.close();
      await proxy.stop();
    }
  });
});

it("each call goes on in its caller's asynchronous context, and the shared statement runs in no caller's", async () => {
  const store = new AsyncLocalStorage<number>();
  const { userId } = await h.user();
  const seen = new Set<unknown>();
  jest.spyOn(h.dataSource.logger, 'logQuery').mockImplementation(() => {
    seen.add(store.getStore());
  });
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(
      times(200, (index) =>
        store.run(index, async () => {
          await h.jobs.createJob({ ...video, userId });
          expect(store.getStore()).toBe(index);
        }),
      ),
    );
  }
  expect(seen).toEqual(new Set([undefined]));
});
