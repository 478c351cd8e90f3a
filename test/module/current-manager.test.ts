import type { EntityManager } from 'typeorm';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { makers, openPeer, video } from '../jobs/fixtures.js';
import type { Peer } from '../jobs/fixtures.js';
import { METHODS } from '../jobs/method.cases.js';

let h: Harness;
let other: Peer;
let current: EntityManager | undefined;
beforeAll(async () => {
  h = await openHarness({ currentManager: () => current });
  other = await openPeer(h.url);
});
afterEach(() => {
  current = undefined;
});
afterAll(async () => {
  await other.close();
  await h.close();
});

describe('each method that takes a manager', () => {
  it.each(Object.keys(METHODS))('%s joins the transaction of its caller', async (name) => {
    const { call, done } = await METHODS[name]!(h, other);
    const undone = h.dataSource.transaction(async (manager) => {
      current = manager;
      await call();
      current = undefined;
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    expect(await done()).toBe(false);
    await h.dataSource.transaction(async (manager) => {
      current = manager;
      await call();
      current = undefined;
      expect(await done()).toBe(false);
    });
    expect(await done()).toBe(true);
  });

  it('is a transaction of its own if the current manager is in no transaction', async () => {
    current = h.dataSource.manager;
    const { jobId } = await makers(h).pending();
    expect(await other.jobs.getJob(jobId)).toMatchObject({ jobId });
  });

  it('joins the transaction of the manager that it is given, not the current one', async () => {
    const { userId } = await h.user();
    const undone = h.dataSource.transaction(async (manager) => {
      current = manager;
      await h.dataSource.transaction((given) =>
        h.jobs.createJob({ ...video, userId }, { manager: given }),
      );
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    current = undefined;
    expect(await h.jobs.countJobs({ userId })).toMatchObject({ pending: 1 });
  });
});

it('methods that return fencing tokens never join', async () => {
  const make = makers(h);
  const jobs = [await make.pending(), await make.pending()];
  const undone = h.dataSource.transaction(async (manager) => {
    current = manager;
    const started = await h.jobs.startJob(jobs[0]!.jobId, { leaseMs: 60_000 });
    await h.jobs.extendLeases([started], { leaseMs: 60_000 });
    await h.jobs.claimJobs();
    throw new Error('undone');
  });
  await expect(undone).rejects.toThrow('undone');
  current = undefined;
  for (const { jobId } of jobs) expect(await h.jobs.getJob(jobId)).toMatchObject({ runNumber: 1 });
});

describe('reading', () => {
  it('sees what the transaction has written, and reads from a replica only outside of it', async () => {
    const { userId } = await h.user();
    await h.dataSource.transaction(async (manager) => {
      current = manager;
      const { jobId } = await h.jobs.createJob({ ...video, userId });
      expect(await h.jobs.getJob(jobId)).toMatchObject({ jobId });
      expect(await h.jobs.countJobs({ userId })).toMatchObject({ pending: 1 });
      expect(await h.jobs.countJobs({ userId }, { replica: true })).toMatchObject({ pending: 0 });
      expect((await h.jobs.listJobs({ userId })).jobs).toHaveLength(1);
    });
  });
});
