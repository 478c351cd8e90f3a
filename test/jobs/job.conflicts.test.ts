import { randomUUID } from 'node:crypto';
import type { EntityManager } from 'typeorm';
import type { TransactionOptions } from '../../src/sql/transaction.options.js';
import { TransactionConflictError } from '../../src/errors.js';
import type { CreateJobInput } from '../../src/jobs/job.inputs.js';
import type { JobService } from '../../src/jobs/job.service.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { until } from '../support/until.js';
import { makers, openPeer, result, stored, video, violations } from './fixtures.js';
import type { Peer } from './fixtures.js';
import { lockWaiters, outcomes, shuffled, times } from './race.js';

let h: Harness;
let peers: Peer[];
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  peers = [await openPeer(h.url), await openPeer(h.url)];
  make = makers(h);
});
// A claim finds every job that is due, so each test begins without jobs.
beforeEach(() => h.dataSource.query('DELETE FROM users'));
afterEach(async () => {
  expect(await violations(h.dataSource)).toEqual([]);
});
afterAll(async () => {
  await Promise.all(peers.map((peer) => peer.close()));
  await h.close();
});

const peerOf = (index: number): Peer => peers[index % peers.length] as Peer;
const input = async () => ({ ...video, userId: (await h.user()).userId });

describe('identical creations at once', () => {
  it.each([
    ['of their own', false],
    ["in callers' transactions", true],
  ])('return the same job: %s', async (_, joined) => {
    const wanted = await input();
    for (let round = 0; round < 30; round += 1) {
      const job = { ...wanted, jobId: randomUUID() };
      const jobs = await Promise.all(
        times(12, (index) => {
          const { jobs: service, dataSource } = peerOf(index);
          const create = async (options?: { manager: EntityManager }): Promise<VideoJob> => {
            if (index % 4 !== 3) return service.createJob(job, options);
            const [created] = await service.createJobs([job], options);
            return created as VideoJob;
          };
          return joined ? dataSource.transaction((manager) => create({ manager })) : create();
        }),
      );
      for (const each of jobs) expect(each).toEqual(jobs[0]);
    }
    expect(await h.jobs.countJobs()).toMatchObject({ pending: 30 });
  });

  it('create one job even if some of the transactions roll back', async () => {
    const wanted = await input();
    for (let round = 0; round < 20; round += 1) {
      const job = { ...wanted, jobId: randomUUID() };
      const { done } = await outcomes(
        times(8, (index) =>
          peerOf(index).dataSource.transaction(async (manager) => {
            const created = await peerOf(index).jobs.createJob(job, { manager });
            if (index % 2 === 0) throw new TransactionConflictError('on purpose');
            return created;
          }),
        ),
      );
      expect(done).toHaveLength(4);
      const row = await stored(h.dataSource, job.jobId);
      for (const each of done) expect({ ...each }).toEqual(row);
    }
  });

  it('of overlapping batches in different orders all succeed', async () => {
    const [a, b] = [await input(), await input()];
    for (let round = 0; round < 10; round += 1) {
      const pool = times(60, (index) => ({
        ...(index % 2 === 0 ? a : b),
        filename: `${index}.mp4`,
        jobId: randomUUID(),
      }));
      const batches = times(10, () => shuffled(pool).slice(0, 40));
      const created = await Promise.all(
        batches.map((batch, index) => peerOf(index).jobs.createJobs(batch)),
      );
      for (const [index, jobs] of created.entries()) expect(jobs).toMatchObject(batches[index]!);
      const byId = new Map<string, VideoJob>();
      for (const job of created.flat()) expect(byId.get(job.jobId) ?? job).toEqual(job);
    }
  });
});

describe('batches with ids in one transaction', () => {
  it('can be created at the same time', async () => {
    const wanted = await input();
    const batches = times(3, () => times(3, () => ({ ...wanted, jobId: randomUUID() })));
    const created = await h.dataSource.transaction((manager) =>
      Promise.all(batches.map((batch) => h.jobs.createJobs(batch, { manager }))),
    );
    for (const [index, jobs] of created.entries()) expect(jobs).toMatchObject(batches[index]!);
    expect(await h.jobs.countJobs()).toMatchObject({ pending: 9 });
  });
});

describe('a batch with the id of a job that another call creates meanwhile', () => {
  const CONTENTS: [string, object, string | undefined][] = [
    ['with the same content', {}, undefined],
    ['with another content', { filename: 'other.mp4' }, 'JOB_CONFLICT'],
  ];
  it.each(
    CONTENTS.flatMap((content) => [
      [...content, 'of its own', false] as const,
      [...content, "in a caller's transaction", true] as const,
    ]),
  )('%s is created whole or not at all: %#', async (_, change, code, __, joined) => {
    const wanted = await input();
    const ids = times(3, () => randomUUID()).toSorted();
    const batch = [...ids.map((jobId) => ({ ...wanted, jobId })), wanted];
    const kept = { ...wanted, jobId: randomUUID() };
    const { jobs, dataSource } = peerOf(1);
    let outcome: Promise<unknown> = Promise.resolve();
    await h.dataSource.transaction(async (manager) => {
      await h.jobs.createJob({ ...batch[1]!, ...change }, { manager });
      outcome = joined
        ? dataSource.transaction(async (callers) => {
            await jobs.createJob(kept, { manager: callers });
            return jobs
              .createJobs(batch, { manager: callers })
              .catch((error: { code: string }) => error.code);
          })
        : jobs.createJobs(batch).catch((error: { code: string }) => error.code);
      await lockWaiters(h.dataSource, 1);
    });
    const [done, others] = [await outcome, joined ? 1 : 0];
    if (code === undefined) expect(done).toMatchObject(batch);
    else expect(done).toBe(code);
    expect(await h.jobs.countJobs()).toMatchObject({
      pending: others + (code === undefined ? 4 : 1),
    });
  });
});

describe('a user who is being deleted', () => {
  it.each<[string, (job: CreateJobInput, manager?: EntityManager) => Promise<unknown>]>([
    ['createJob', (job, manager) => peerOf(0).jobs.createJob(job, manager && { manager })],
    [
      'createJob with a jobId',
      (job, manager) =>
        peerOf(0).jobs.createJob({ ...job, jobId: randomUUID() }, manager && { manager }),
    ],
    ['createJobs', (job, manager) => peerOf(0).jobs.createJobs([job, job], manager && { manager })],
  ])(
    '%s waits for the deletion and then refuses the user, and the transaction stays usable',
    async (_, create) => {
      const job = await input();
      const kept = await input();
      const own = { refused: Promise.resolve() };
      const joined = { refused: Promise.resolve() };
      await h.dataSource.transaction(async (manager) => {
        await manager.query(`DELETE FROM users WHERE "userId" = $1`, [job.userId]);
        const unknown = { code: 'USER_NOT_FOUND', userId: job.userId };
        own.refused = expect(create(job)).rejects.toMatchObject(unknown);
        joined.refused = peerOf(0).dataSource.transaction(async (callers) => {
          await expect(create(job, callers)).rejects.toMatchObject(unknown);
          await create(kept, callers);
        });
        await lockWaiters(h.dataSource, 2);
      });
      await own.refused;
      await joined.refused;
      expect((await h.jobs.listJobs({ userId: kept.userId })).jobs.length).toBeGreaterThan(0);
    },
  );
});

describe('a collision that the database resolves', () => {
  it('one of two deadlocked transactions is told to try again, and the other one goes on', async () => {
    const [a, b] = [await make.leased(), await make.leased()];
    let arrived = 0;
    const complete = (first: VideoJob, second: VideoJob, { jobs, dataSource }: Peer) =>
      dataSource.transaction(async (manager) => {
        await jobs.completeJob(first, result, { manager });
        arrived += 1;
        await until(() => arrived === 2);
        await jobs.completeJob(second, result, { manager });
      });
    const { done, refused } = await outcomes([
      complete(a, b, peerOf(0)),
      complete(b, a, peerOf(1)),
    ]);
    expect({ done: done.length, refused }).toEqual({ done: 1, refused: ['TRANSACTION_CONFLICT'] });
    expect(await h.jobs.countJobs()).toMatchObject({ completed: 2 });
  });

  it.each(['REPEATABLE READ', 'SERIALIZABLE'] as const)(
    'a %s transaction that has seen an older state is told to try again',
    async (isolation) => {
      const { jobs, dataSource } = peerOf(1);
      const job = await make.leased();
      const { jobId } = await make.failed();
      const one = { ...(await input()), jobId: randomUUID() };
      const many = times(3, () => ({ ...one, jobId: randomUUID() }));
      type Call = (service: JobService, options?: TransactionOptions) => Promise<unknown>;
      const calls: Call[] = [
        (service, options) => service.completeJob(job, result, options),
        (service, options) => service.retryJob(jobId, options),
        (service, options) => service.createJob(one, options),
        (service, options) => service.createJobs(many, options),
      ];
      for (const call of calls) {
        const stale = dataSource.transaction(isolation, async (manager) => {
          await manager.query('SELECT count(*) FROM video_jobs');
          await call(h.jobs);
          await call(jobs, { manager });
        });
        await expect(stale).rejects.toThrow(TransactionConflictError);
      }
      // With a new snapshot, the calls succeed or are refused as in any other transaction.
      await dataSource.transaction(isolation, async (manager) => {
        await expect(jobs.completeJob(job, result, { manager })).rejects.toMatchObject({
          code: 'LEASE_LOST',
        });
        expect(await jobs.createJob(one, { manager })).toMatchObject(one);
        expect(await jobs.createJobs(many, { manager })).toMatchObject(many);
        const mine = await jobs.createJob({ ...video, userId: one.userId }, { manager });
        expect(await jobs.getJob(mine.jobId, { manager })).toEqual(mine);
      });
    },
  );
});
