import { randomUUID } from 'node:crypto';
import type { EntityManager } from 'typeorm';
import type { TransactionOptions } from '../../src/sql/transaction.options.js';
import type { InvalidInputError } from '../../src/errors.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { makers, openPeer, result, stored, video } from './fixtures.js';
import type { Peer } from './fixtures.js';
import { METHODS } from './method.cases.js';
import type { MethodCase, CaseMaker } from './method.cases.js';

let h: Harness;
let other: Peer;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
  make = makers(h);
});
afterAll(async () => {
  await other.close();
  await h.close();
});

const REFUSALS = [
  'USER_NOT_FOUND',
  'USER_CONFLICT',
  'LEASE_LOST',
  'JOB_NOT_FOUND',
  'NOTIFICATION_NOT_FOUND',
  'INVALID_JOB_TRANSITION',
  'JOB_CONFLICT',
];

describe.each(Object.keys(METHODS))('%s', (name) => {
  let methodCase: MethodCase;
  beforeEach(async () => {
    methodCase = await (METHODS[name] as CaseMaker)(h, other);
    expect(await methodCase.done()).toBe(false);
  });

  it('is a transaction of its own', async () => {
    await methodCase.call();
    expect(await methodCase.done()).toBe(true);
  });

  it('is a transaction of its own with the manager of the data source, which is in no transaction', async () => {
    await methodCase.call({ manager: h.dataSource.manager });
    expect(await methodCase.done()).toBe(true);
  });

  it('joins a transaction that commits', async () => {
    await h.dataSource.transaction(async (manager) => {
      await methodCase.call({ manager });
      expect(await methodCase.done()).toBe(false);
    });
    expect(await methodCase.done()).toBe(true);
  });

  it('joins a transaction that rolls back', async () => {
    const rolledBack = h.dataSource.transaction(async (manager) => {
      await methodCase.call({ manager });
      throw new Error('on purpose');
    });
    await expect(rolledBack).rejects.toThrow('on purpose');
    expect(await methodCase.done()).toBe(false);
  });

  it('joins a savepoint that rolls back, in a transaction that commits', async () => {
    const job = await make.pending();
    await h.dataSource.transaction(async (manager) => {
      const inner = manager.transaction(async (savepoint) => {
        await methodCase.call({ manager: savepoint });
        throw new Error('on purpose');
      });
      await expect(inner).rejects.toThrow('on purpose');
      await manager.query(`UPDATE video_jobs SET filename = 'new' WHERE "jobId" = $1`, [job.jobId]);
    });
    expect(await methodCase.done()).toBe(false);
    expect(await stored(h.dataSource, job.jobId)).toMatchObject({ filename: 'new' });
  });

  it('leaves the transaction of the caller usable when it refuses', async () => {
    await h.dataSource.transaction(async (manager) => {
      const refusal: unknown = await methodCase
        .refused({ manager })
        .catch((error: unknown) => error);
      expect(REFUSALS).toContain((refusal as { code?: string }).code);
      await methodCase.call({ manager });
    });
    expect(await methodCase.done()).toBe(true);
  });

  it('refuses the manager of another data source', async () => {
    await other.dataSource.transaction(async (manager) => {
      await expect(methodCase.call({ manager })).rejects.toMatchObject({
        code: 'INVALID_INPUT',
        problems: [{ property: 'options.manager' }],
      });
    });
    expect(await methodCase.done()).toBe(false);
  });

  it('refuses the manager of a transaction that is over', async () => {
    const manager = await h.dataSource.transaction(async (open) => open);
    await expect(methodCase.call({ manager })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      problems: [{ property: 'options.manager' }],
    });
    expect(await methodCase.done()).toBe(false);
  });

  it.each([
    ['a misspelt option', (manager: EntityManager) => ({ manger: manager }), 'options.manger'],
    ['a manager as the options', (manager: EntityManager) => manager, 'options'],
    ['a manager that is none', () => ({ manager: {} }), 'options.manager'],
  ])('refuses %s', async (_, options, property) => {
    await h.dataSource.transaction(async (manager) => {
      const call = methodCase.call(options(manager) as never);
      await expect(call).rejects.toMatchObject({ code: 'INVALID_INPUT' });
      const refusal = await call.catch((error: unknown) => error as InvalidInputError);
      expect((refusal as InvalidInputError).problems[0]?.property).toContain(property);
    });
    expect(await methodCase.done()).toBe(false);
  });
});

describe('what reads', () => {
  it.each<[string, (o: TransactionOptions, jobId: string, userId: string) => Promise<unknown>]>([
    ['getJob', (o, jobId) => h.jobs.getJob(jobId, o).catch(() => false)],
    [
      'getJob of a user',
      (o, jobId, userId) => h.jobs.getJob(jobId, { ...o, userId }).catch(() => false),
    ],
    ['listJobs', async (o, _, userId) => (await h.jobs.listJobs({ userId }, o)).jobs.length],
    ['countJobs', async (o, _, userId) => (await h.jobs.countJobs({ userId }, o)).pending],
    [
      'listNotifications',
      async (o, jobId) =>
        (await h.notifications.listNotifications({ jobId }, o)).notifications.length,
    ],
    [
      'listAttemptErrors',
      async (o, jobId) => h.jobs.listAttemptErrors(jobId, o).catch(() => false),
    ],
  ])('%s sees what its transaction has written, and other calls do not', async (_, read) => {
    const { userId } = await h.user();
    await h.dataSource.transaction(async (manager) => {
      const { jobId } = await h.jobs.createJob({ ...video, userId }, { manager });
      const values = [jobId];
      await manager.query(
        `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail")
         VALUES ($1, 'failure', 'a@example.com')`,
        values,
      );
      await manager.query(
        `INSERT INTO job_attempt_errors ("jobId", "runNumber", "errorMessage") VALUES ($1, 0, 'x')`,
        values,
      );
      expect(await read({ manager }, jobId, userId)).toBeTruthy();
      expect(await read({}, jobId, userId)).toBeFalsy();
    });
    const wrong = other.dataSource.manager;
    const refused = h.jobs.getJob(randomUUID(), { manager: wrong });
    await expect(refused).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });
});

describe('methods that return fencing tokens, or commit in batches, never join a transaction', () => {
  it.each<[string, (manager: EntityManager, jobId: string) => Promise<unknown>]>([
    ['claimJobs', (manager) => h.jobs.claimJobs({ manager } as never)],
    ['startJob', (manager, jobId) => h.jobs.startJob(jobId, { manager } as never)],
    ['extendLeases', (manager) => h.jobs.extendLeases([], { leaseMs: 1, manager } as never)],
    ['pruneJobs', (manager) => h.jobs.pruneJobs({ olderThan: new Date(), manager } as never)],
    ['claimNotifications', (manager) => h.notifications.claimNotifications({ manager } as never)],
  ])('%s refuses a manager', async (_, call) => {
    const job = await make.pending();
    await h.dataSource.transaction(async (manager) => {
      await expect(call(manager, job.jobId)).rejects.toMatchObject({
        code: 'INVALID_INPUT',
        problems: [{ property: 'manager' }],
      });
    });
    expect(await stored(h.dataSource, job.jobId)).toMatchObject({
      status: 'pending',
      runNumber: 0,
    });
  });
});

it('uses the time of the statement, not that of the start of the transaction', async () => {
  const job = await make.leased();
  const { userId } = await h.user();
  const input = { ...video, userId };
  await h.dataSource.transaction(async (manager) => {
    const [{ began }] = await manager.query('SELECT now() AS began, pg_sleep(0.02)');
    const created = await h.jobs.createJob(input, { manager });
    const [batched] = await h.jobs.createJobs([input], { manager });
    const ended = await h.jobs.completeJob(job, result, { manager });
    for (const time of [
      created.createdAt,
      created.availableAt,
      batched?.createdAt,
      ended.job.completedAt,
      ended.notification.createdAt,
    ]) {
      expect(time?.getTime()).toBeGreaterThan(began.getTime());
    }
  });
});

it('is aborted by an SQL error, and not by a refusal', async () => {
  const job = await make.leased();
  await h.dataSource.query(
    `ALTER TABLE notification_log ADD CONSTRAINT broken CHECK (false) NOT VALID`,
  );
  try {
    const call = h.dataSource.transaction(async (manager) => {
      await expect(h.jobs.completeJob(job, result, { manager })).rejects.toMatchObject({
        code: '23514',
      });
      await h.jobs.getJob(job.jobId, { manager });
    });
    await expect(call).rejects.toMatchObject({ code: '25P02' });
  } finally {
    await h.dataSource.query(`ALTER TABLE notification_log DROP CONSTRAINT broken`);
  }
  expect(await stored(h.dataSource, job.jobId)).toMatchObject({ status: 'processing' });
});
