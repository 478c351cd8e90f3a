import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { firstValueFrom, merge } from 'rxjs';
import { WakeUpSender } from '../../../src/jobs/wake-up.sender.js';
import { letWatchersListen } from '../../../src/jobs/watching/change.listener.js';
import { watchedJobs } from '../../../src/jobs/watching/job.watch.sql.js';
import { beginWatching, endWatching, watchOn } from '../../../src/jobs/watching/watching.js';
import { SqlRunner } from '../../../src/sql/sql.runner.js';
import type { Harness } from '../../support/harness.js';
import { openHarness } from '../../support/harness.js';
import { onServer } from '../../support/server.js';
import { until } from '../../support/until.js';
import { Statements } from '../../worker/statements.js';
import { HOUR_MS, makers, openPeer, result, video } from '../fixtures.js';
import type { Peer } from '../fixtures.js';
import { times } from '../race.js';
import { Watched } from './watched.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
const statements = new Statements();
beforeAll(async () => {
  h = await openHarness({ logger: statements });
  other = await openPeer(h.url);
  make = makers(h);
});
beforeEach(() => h.dataSource.query('DELETE FROM users'));
afterAll(async () => {
  await other.close();
  await h.close();
});

const looks = (): number => statements.count(h.dataSource, watchedJobs);

describe('watchJob', () => {
  it.each([
    ['in this process', () => h],
    ['in another process', () => other],
  ])(
    'emits the present state and each change %s, and ends with the final state',
    async (_, peerOf) => {
      const { jobs } = peerOf();
      const { jobId } = await make.pending();
      const watched = new Watched(h.jobs.watchJob(jobId));
      await until(() => watched.told.length === 1);
      const [job] = await jobs.claimJobs({ leaseMs: HOUR_MS });
      await until(() => watched.told.length === 2);
      await jobs.reportProgress([{ job: job!, percent: 50, message: 'half' }]);
      await until(() => watched.told.length === 3);
      await jobs.completeJob(job!, result);
      await until(() => watched.isOver);
      const states = ['pending null', 'processing 0', 'processing 50', 'completed 100'];
      expect(watched.states).toEqual(states);
      expect(watched.told[2]).toMatchObject({ progressMessage: 'half' });
      expect(watched.told[3]).toMatchObject({ jobId, ...result });
      expect(watched.told[3]).not.toHaveProperty('workerId');
      expect(watched.error).toBeUndefined();
    },
  );

  it('emits a retry and a cancellation', async () => {
    const job = await make.leased();
    const watched = new Watched(h.jobs.watchJob(job.jobId));
    await until(() => watched.told.length === 1);
    await h.jobs.releaseJob(job);
    await until(() => watched.told.length === 2);
    await h.jobs.cancelJob(job.jobId);
    await until(() => watched.isOver);
    expect(watched.states).toEqual(['processing 0', 'pending 0', 'failed 0']);
    expect(watched.told[2]?.cancelledAt).toBeInstanceOf(Date);
  });

  it('emits the change of a transaction in this process after its commit', async () => {
    const job = await make.leased();
    const watched = new Watched(h.jobs.watchJob(job.jobId));
    await until(() => watched.told.length === 1);
    const [before, start] = [looks(), performance.now()];
    await h.dataSource.transaction(async (manager) => {
      await h.jobs.completeJob(job, result, { manager });
      expect(watched.told).toHaveLength(1);
    });
    await until(() => watched.isOver);
    expect(watched.states).toEqual(['processing 0', 'completed 100']);
    // One statement reads the change, and there is one each second.
    const seconds = (performance.now() - start) / 1_000;
    expect(looks() - before).toBeLessThanOrEqual(1 + Math.ceil(seconds));
  });

  it('emits the state of a finished job once, and ends', async () => {
    const { jobId } = await make.failed();
    const watched = new Watched(h.jobs.watchJob(jobId));
    await until(() => watched.isOver);
    expect(watched.states).toEqual(['failed 0']);
  });

  it('emits the present state to each watcher, whenever it subscribes', async () => {
    const job = await make.leased();
    const first = new Watched(h.jobs.watchJob(job.jobId));
    await until(() => first.told.length === 1);
    const second = new Watched(h.jobs.watchJob(job.jobId.toUpperCase(), { userId: job.userId }));
    await until(() => second.told.length === 1);
    await h.jobs.completeJob(job, result);
    await until(() => first.isOver && second.isOver);
    expect(first.states).toEqual(['processing 0', 'completed 100']);
    expect(second.states).toEqual(first.states);
  });

  it.each<[string, () => Promise<Watched>, object]>([
    ['that does not exist', async () => new Watched(h.jobs.watchJob(randomUUID())), {}],
    [
      "that is another user's",
      async () =>
        new Watched(h.jobs.watchJob((await make.pending()).jobId, { userId: randomUUID() })),
      {},
    ],
    [
      'that is removed',
      async () => {
        const { jobId } = await make.pending();
        const watched = new Watched(h.jobs.watchJob(jobId));
        await until(() => watched.told.length === 1);
        await h.dataSource.query('DELETE FROM video_jobs WHERE "jobId" = $1', [jobId]);
        return watched;
      },
      {},
    ],
    [
      'without a valid id',
      async () => new Watched(h.jobs.watchJob('x')),
      { code: 'INVALID_INPUT' },
    ],
    [
      'of a user that is undefined',
      async () => new Watched(h.jobs.watchJob(randomUUID(), { userId: undefined } as never)),
      { code: 'INVALID_INPUT' },
    ],
  ])('ends with an error for a job %s', async (_, watch, error) => {
    const watched = await watch();
    await until(() => watched.isOver);
    expect(watched.error).toMatchObject({ code: 'JOB_NOT_FOUND', ...error });
  });

  it('ends with the application, and fails with an error of the database that waiting cannot solve', async () => {
    const { jobId } = await make.pending();
    const ending = new Watched(h.jobs.watchJob(jobId));
    endWatching(h.dataSource);
    expect([ending.isOver, ending.error]).toEqual([true, undefined]);
    // A browser subscribes again when its stream has ended.
    const again = new Watched(h.jobs.watchJob(jobId));
    const all = new Watched(h.jobs.watchJobs({ userId: randomUUID() }));
    expect([again.isOver, all.isOver]).toEqual([true, true]);
    beginWatching(h.dataSource);
    const broken = new Watched(h.jobs.watchJob(jobId));
    await until(() => broken.told.length === 1);
    await h.dataSource.query('ALTER TABLE video_jobs RENAME TO hidden_jobs');
    await until(() => broken.isOver);
    await h.dataSource.query('ALTER TABLE hidden_jobs RENAME TO video_jobs');
    expect(broken.error).toMatchObject({ code: 'MIGRATION_FAILED' });
  });
});

describe('watchJobs', () => {
  it('emits the newest jobs of a user, newest first, and new ones of every process', async () => {
    const { userId } = await h.user();
    const created = await h.jobs.createJobs(times(120, () => ({ ...video, userId })));
    await make.pending();
    const watched = new Watched(h.jobs.watchJobs({ userId }));
    await until(() => watched.told.length >= 100);
    const { jobs: newest } = await h.jobs.listJobs({ userId, limit: 100 });
    expect(watched.told.map(({ jobId }) => jobId)).toEqual(newest.map(({ jobId }) => jobId));
    const here = await h.jobs.createJob({ ...video, userId });
    await until(() => watched.told.length === 101);
    const elsewhere = await other.jobs.createJob({ ...video, userId });
    await until(() => watched.told.length === 102);
    const late = watched.told.slice(100).map(({ jobId }) => jobId);
    expect(late).toEqual([here.jobId, elsewhere.jobId]);
    // The oldest job is not among the newest.
    await h.jobs.cancelJob(
      created.find(({ jobId }) => newest.every((job) => job.jobId !== jobId))!.jobId,
    );
    await other.jobs.cancelJob(elsewhere.jobId);
    await until(() => watched.told.length === 103);
    await h.jobs.retryJob(elsewhere.jobId);
    await until(() => watched.told.length === 104);
    expect(watched.states.slice(102)).toEqual(['failed null', 'pending null']);
    const started = await h.jobs.startJob(elsewhere.jobId, { leaseMs: HOUR_MS });
    await until(() => watched.told.length === 105);
    await other.jobs.completeJob(started, result);
    await until(() => watched.told.length === 106);
    expect(watched.isOver).toBe(false);
    watched.leave();
  });

  it('emits all new jobs, also when another process creates thousands between two reads', async () => {
    const { userId } = await h.user();
    const watched = new Watched(h.jobs.watchJobs({ userId }));
    await h.jobs.createJob({ ...video, userId });
    await until(() => watched.told.length === 1);
    const before = looks();
    const jobs = await other.jobs.createJobs(times(3_500, () => ({ ...video, userId })));
    await until(() => watched.told.length > 3_500);
    const told = new Set(watched.told.map(({ jobId }) => jobId));
    expect(jobs.filter(({ jobId }) => !told.has(jobId))).toEqual([]);
    // It takes more than one statement, and far fewer than one for each job.
    expect(looks() - before).toBeLessThan(50);
    watched.leave();
  });

  it('emits all new jobs to each of several watchers of a user, whenever they subscribe', async () => {
    const { userId } = await h.user();
    await h.jobs.createJobs(times(150, () => ({ ...video, userId })));
    const all: Watched[] = [];
    for (let count = 1; count <= 3; count += 1) {
      all.push(new Watched(h.jobs.watchJobs({ userId })));
      await sleep(200);
    }
    await until(() => all.every(({ told }) => told.length >= 100));
    await other.jobs.createJobs(times(3, () => ({ ...video, userId })));
    await until(() => all.every(({ told }) => told.length >= 103));
    await sleep(1_200);
    expect(all.map(({ told }) => told.length)).toEqual([103, 103, 103]);
    for (const watched of all) watched.leave();
  });

  it('does not read jobs that are older than the newest', async () => {
    const { userId } = await h.user();
    await h.jobs.createJobs(times(10_000, () => ({ ...video, userId })));
    const [before, start] = [looks(), performance.now()];
    const watched = new Watched(h.jobs.watchJobs({ userId }));
    await until(() => watched.told.length === 100);
    await sleep(1_500);
    // One statement finds the newest jobs, one reads them, and then there is one each second.
    const seconds = (performance.now() - start) / 1_000;
    expect(looks() - before).toBeLessThanOrEqual(2 + Math.ceil(seconds));
    watched.leave();
  });

  it('emits no job of another user, also if a message names one', async () => {
    const { userId } = await h.user();
    const server = await openPeer(onServer(h.url));
    const end = letWatchersListen(server.dataSource, () => {});
    const foreign = await make.pending();
    const watched = new Watched(server.jobs.watchJobs({ userId }));
    const own = await h.jobs.createJob({ ...video, userId });
    await until(async () => {
      await h.dataSource.query(`SELECT pg_notify('frameforge_changes', $1)`, [
        `${foreign.jobId} ${userId}`,
      ]);
      return watched.told.length > 0;
    });
    await sleep(100);
    expect(watched.told.map(({ jobId }) => jobId)).toEqual([own.jobId]);
    watched.leave();
    end();
    await server.close();
  });

  it('ends with an error if no user is given', async () => {
    const watched = new Watched(h.jobs.watchJobs({} as never));
    expect(watched.error).toMatchObject({ code: 'INVALID_INPUT' });
  });
});

it('a thousand watchers share one statement a second, and watchers that have left cost none', async () => {
  const { userId } = await h.user();
  const jobs = await h.jobs.createJobs(times(500, () => ({ ...video, userId })));
  const all = [...jobs, ...jobs].map(({ jobId }) => new Watched(h.jobs.watchJob(jobId)));
  await until(() => all.every(({ told }) => told.length === 1));
  const [before, start] = [looks(), performance.now()];
  await until(() => looks() - before === 3);
  // The first comes within a second, the third two seconds after it.
  expect(performance.now() - start).toBeGreaterThan(1_900);
  for (const watched of all) watched.leave();
  const after = looks();
  await sleep(1_500);
  expect(looks()).toBe(after);
});

it('a read sends the columns of at most a thousand jobs, and of the others that they are still to come', async () => {
  const { userId } = await h.user();
  const jobs = await h.jobs.createJobs(times(2_500, () => ({ ...video, userId })));
  const gone = randomUUID();
  const ids = [gone, ...jobs.map(({ jobId }) => jobId)];
  const known = ids.map(() => null);
  const db = new SqlRunner(h.dataSource, false);
  const look = (states: (string | null)[]): Promise<Record<string, unknown>[]> =>
    db.run('Watching jobs', watchedJobs, [ids, states, [], [], [], 1_000, 1_000]);
  const rows = await look(known);
  const sent = rows.filter(({ status }) => status !== null);
  expect(sent.map(({ jobId }) => jobId)).toEqual(ids.slice(1, 1_001));
  expect(rows.filter(({ kind }) => kind === 'job')).toHaveLength(2_501);
  expect(rows.find(({ jobId }) => jobId === gone)).toMatchObject({ state: null, status: null });
  // Jobs that have not changed cause no event.
  const state = sent[0]!['state'] as string;
  const after = await look([null, ...jobs.map(() => state)]);
  expect(after.filter(({ kind }) => kind === 'job')).toMatchObject([{ jobId: gone }]);
});

it('a watcher that leaves during a read costs nothing afterwards', async () => {
  const { userId } = await h.user();
  const first = await h.jobs.createJob({ ...video, userId });
  for (let round = 0; round < 20; round += 1) {
    const watched = new Watched(h.jobs.watchJobs({ userId }));
    await sleep(round);
    watched.leave();
  }
  // Both watch the same job. The first one that gets the event ends the other one.
  const [one, two] = [h.jobs.watchJob(first.jobId), h.jobs.watchJob(first.jobId)];
  await firstValueFrom(merge(one, two));
  await sleep(100);
  const before = looks();
  await sleep(1_500);
  expect(looks()).toBe(before);
});

it('a change by another process is emitted by its NOTIFY, without a poll', async () => {
  // LISTEN needs a session.
  const listening = await openPeer(onServer(h.url));
  const warnings: unknown[] = [];
  const end = letWatchersListen(listening.dataSource, (error) => warnings.push(error));
  const sender = new WakeUpSender(h.dataSource, (error) => warnings.push(error));
  const query = `SELECT count(*)::integer AS count FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN frameforge_changes%'`;
  const listeners = async (): Promise<number> => (await h.dataSource.query(query))[0].count;
  let job = await make.leased();
  const watched = new Watched(listening.jobs.watchJob(job.jobId));
  await until(async () => (await listeners()) === 1 && watched.told.length > 0);
  // From here on there are no polls, so a job is read only after a NOTIFY about it.
  watchOn(listening.dataSource, listening.jobs.preparedStatements)['nextFullLook'] = Infinity;
  for (let step = 1; step <= 20; step += 1) {
    const told = watched.told.length;
    await h.jobs.reportProgress([{ job, percent: step }]);
    await until(() => watched.told.length > told);
  }
  job = (await h.jobs.completeJob(job, result)).job;
  await until(() => watched.isOver);
  await until(async () => (await listeners()) === 0);
  expect(warnings).toEqual([]);
  sender.end();
  end();
  await listening.close();
});
