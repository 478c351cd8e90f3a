import { DataSource } from 'typeorm';
import type { Repository } from 'typeorm';
import type { QueryResultCache } from 'typeorm/cache/QueryResultCache.js';
import type { QueryResultCacheOptions } from 'typeorm/cache/QueryResultCacheOptions.js';
import { StaleEntityError } from '../../src/errors.js';
import {
  DeliveryStatus,
  JobStatus,
  NotificationLog,
  VideoJob,
} from '../../src/schema/entities/index.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

// A `save()` of an entity that was read before the job went on: it may end a run, and never does more.

let h: Harness;
let userId: string;
let repository: Repository<VideoJob>;
let log: Repository<NotificationLog>;
beforeAll(async () => {
  h = await openHarness();
  ({ userId } = await h.user());
  repository = h.dataSource.getRepository(VideoJob);
  log = h.dataSource.getRepository(NotificationLog);
});
afterAll(() => h.close());

const result = { resultUrl: 's3://frames/cat.zip', frameCount: 1 };
const failure = { errorMessage: 'no video' };
const video = { filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' };
const create = (): Promise<VideoJob> => h.jobs.createJob({ ...video, userId });
const start = (jobId: string): Promise<VideoJob> => h.jobs.startJob(jobId, { leaseMs: 60_000 });
const read = (jobId: string): Promise<VideoJob> => repository.findOneByOrFail({ jobId });
const readLog = (jobId: string): Promise<NotificationLog> => log.findOneByOrFail({ jobId });

/** Brings a new job to the state in which it is read, and on to the state in which it is saved. */
const STALE: [what: string, now: JobStatus, go: (jobId: string) => Promise<VideoJob>][] = [
  [
    'a job at work that was released',
    JobStatus.PENDING,
    async (jobId) => {
      const run = await start(jobId);
      const stale = await read(jobId);
      await h.jobs.releaseJob(run);
      return stale;
    },
  ],
  [
    'a job at work that was cancelled and tried again',
    JobStatus.PENDING,
    async (jobId) => {
      await start(jobId);
      const stale = await read(jobId);
      await h.jobs.cancelJob(jobId);
      await h.jobs.retryJob(jobId);
      return stale;
    },
  ],
  [
    'a job at work that has failed',
    JobStatus.FAILED,
    async (jobId) => {
      const run = await start(jobId);
      const stale = await read(jobId);
      await h.jobs.failJob(run, failure);
      return stale;
    },
  ],
  [
    'a job at work that is in its next run',
    JobStatus.PROCESSING,
    async (jobId) => {
      const run = await start(jobId);
      const stale = await read(jobId);
      await h.jobs.releaseJob(run);
      // So that the two runs start at different times.
      await h.dataSource.query('SELECT pg_sleep(0.002)');
      await start(jobId);
      return stale;
    },
  ],
  [
    'a pending job that has failed',
    JobStatus.FAILED,
    async (jobId) => {
      const stale = await read(jobId);
      await h.jobs.failJob(await start(jobId), failure);
      return stale;
    },
  ],
  [
    'a pending job that was cancelled',
    JobStatus.FAILED,
    async (jobId) => {
      const stale = await read(jobId);
      await h.jobs.cancelJob(jobId);
      return stale;
    },
  ],
  [
    'a failed job that was tried again',
    JobStatus.PENDING,
    async (jobId) => {
      await h.jobs.failJob(await start(jobId), failure);
      const stale = await read(jobId);
      await h.jobs.retryJob(jobId);
      return stale;
    },
  ],
  [
    'a failed job that has failed again',
    JobStatus.FAILED,
    async (jobId) => {
      await h.jobs.failJob(await start(jobId), failure);
      const stale = await read(jobId);
      await h.jobs.retryJob(jobId);
      await h.jobs.failJob(await start(jobId), { errorMessage: 'no sound' });
      return stale;
    },
  ],
  [
    'a pending job that is completed',
    JobStatus.COMPLETED,
    async (jobId) => {
      const stale = await read(jobId);
      await h.jobs.completeJob(await start(jobId), result);
      return stale;
    },
  ],
];

it.each(STALE)('is refused: %s, and is %s now', async (_, status, go) => {
  const { jobId } = await create();
  const stale = await go(jobId);
  const now = await read(jobId);
  expect(now.status).toBe(status);
  stale.filename = 'dog.mp4';
  const refusal = await repository.save(stale).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(StaleEntityError);
  expect(refusal).toMatchObject({
    code: 'STALE_ENTITY',
    jobId,
    status,
    message: expect.stringContaining(`job ${jobId}`),
  });
  expect(await read(jobId)).toEqual(now);
  // What the message says to do.
  await repository.update(jobId, { filename: 'dog.mp4' });
  expect(await read(jobId)).toEqual({ ...now, filename: 'dog.mp4' });
  await repository.save(Object.assign(await read(jobId), { filename: 'fox.mp4' }));
  expect(await read(jobId)).toEqual({ ...now, filename: 'fox.mp4' });
});

it.each([JobStatus.PENDING, JobStatus.COMPLETED, JobStatus.FAILED])(
  'may end a run: processing to %s',
  async (status) => {
    const { jobId } = await create();
    await start(jobId);
    const completedAt = status === JobStatus.PENDING ? null : new Date();
    await repository.save(Object.assign(await read(jobId), { status, completedAt }));
    expect(await read(jobId)).toMatchObject({ status, completedAt, workerId: null, runNumber: 1 });
  },
);

it('an entity that has seen no run ends the run that began since', async () => {
  const stale = await create();
  await start(stale.jobId);
  await repository.save(Object.assign(stale, { filename: 'dog.mp4' }));
  expect(await read(stale.jobId)).toMatchObject({ status: 'pending', filename: 'dog.mp4' });
});

it('an entity of now may be corrected in each column', async () => {
  const { jobId } = await create();
  await h.jobs.completeJob(await start(jobId), result);
  const corrected = { resultUrl: 's3://other/cat.zip', frameCount: 2, errorMessage: 'by hand' };
  await repository.save(Object.assign(await read(jobId), corrected));
  expect(await read(jobId)).toMatchObject(corrected);
  const other = await create();
  await repository.save({ jobId: other.jobId, filename: 'dog.mp4' });
  expect(await read(other.jobId)).toEqual({ ...other, filename: 'dog.mp4' });
});

it('a job that was read a moment ago, and goes on while it is saved', async () => {
  // TypeORM reads the row, and writes it in a transaction after that. In between, the run ends.
  const { jobId } = await create();
  const run = await start(jobId);
  const ended = Object.assign(await read(jobId), { status: JobStatus.COMPLETED });
  const between = h.dataSource.subscribers;
  const releases = {
    listenTo: () => VideoJob,
    beforeTransactionStart: async () => {
      between.splice(between.indexOf(releases), 1);
      await h.jobs.releaseJob(run);
    },
  };
  between.push(releases);
  await expect(repository.save(ended)).rejects.toMatchObject({
    code: 'STALE_ENTITY',
    status: 'pending',
  });
  expect(await read(jobId)).toMatchObject({ status: 'pending', runNumber: 1 });
});

it('one stale entity of many: nothing of the others is written, and the transaction goes on', async () => {
  const jobs = await h.jobs.createJobs(
    ['a', 'b', 'c', 'd'].map((name) => ({
      userId,
      filename: `${name}.mp4`,
      videoUrl: 's3://videos/x.mp4',
    })),
  );
  const ids = jobs.map(({ jobId }) => jobId);
  await start(ids[0]!);
  await start(ids[1]!);
  await h.jobs.failJob(await start(ids[2]!), failure);
  await start(ids[3]!);
  const now = await Promise.all(ids.map(read));
  const saved = jobs.map((job) => ({ ...job, filename: 'dog.mp4' }));
  // A connection gets its next statement when the one before has ended: `pg` will insist on that.
  const { subscribers } = h.dataSource;
  const running = { now: 0, most: 0 };
  subscribers.push({
    beforeQuery: () => {
      running.now += 1;
      running.most = Math.max(running.most, running.now);
    },
    afterQuery: () => {
      running.now -= 1;
    },
  });
  await h.dataSource.transaction(async (manager) => {
    await expect(manager.save(VideoJob, saved)).rejects.toMatchObject({ jobId: ids[2] });
    await manager.update(VideoJob, ids[0]!, { filename: 'fox.mp4' });
    await manager.save(VideoJob, { jobId: ids[1]!, status: JobStatus.FAILED });
  });
  subscribers.pop();
  expect(running).toEqual({ now: 0, most: 1 });
  const [first, second, ...rest] = await Promise.all(ids.map(read));
  expect(first).toEqual({ ...now[0], filename: 'fox.mp4' });
  expect(second).toMatchObject({ status: 'failed', filename: 'b.mp4' });
  expect(rest).toEqual(now.slice(2));
});

const NOTIFIED: [
  what: string,
  now: DeliveryStatus,
  go: (jobId: string) => Promise<NotificationLog>,
][] = [
  [
    'one that waited and was sent',
    DeliveryStatus.SENT,
    async (jobId) => {
      const stale = await readLog(jobId);
      await deliver(jobId);
      return stale;
    },
  ],
  [
    'one that waited and was given up',
    DeliveryStatus.FAILED,
    async (jobId) => {
      const stale = await readLog(jobId);
      await giveUp(jobId);
      return stale;
    },
  ],
  [
    'one that was given up and waits again',
    DeliveryStatus.PENDING,
    async (jobId) => {
      await giveUp(jobId);
      const stale = await readLog(jobId);
      await h.notifications.redeliver(stale.notificationId);
      return stale;
    },
  ],
  [
    'one that was given up, and was sent since',
    DeliveryStatus.SENT,
    async (jobId) => {
      await giveUp(jobId);
      const stale = await readLog(jobId);
      await h.notifications.redeliver(stale.notificationId);
      await deliver(jobId);
      return stale;
    },
  ],
  [
    'one that waited, whose try has failed',
    DeliveryStatus.PENDING,
    async (jobId) => {
      const stale = await readLog(jobId);
      await h.notifications.markFailed(await claimed(jobId), { ...failure, retryInMs: 60_000 });
      return stale;
    },
  ],
];

const claimed = async (jobId: string): Promise<NotificationLog> => {
  const all = await h.notifications.claimNotifications({ limit: 1000 });
  return all.find((each) => each.jobId === jobId)!;
};
const deliver = async (jobId: string): Promise<unknown> =>
  h.notifications.markSent(await claimed(jobId));
const giveUp = async (jobId: string): Promise<unknown> =>
  h.notifications.markFailed(await claimed(jobId), failure);

it.each(NOTIFIED)('is refused: a notification, %s, and is %s now', async (_, status, go) => {
  const { jobId } = await create();
  await h.jobs.completeJob(await start(jobId), result);
  const stale = await go(jobId);
  const now = await readLog(jobId);
  expect(now.deliveryStatus).toBe(status);
  stale.recipientEmail = 'new@example.com';
  const { notificationId } = now;
  await expect(log.save(stale)).rejects.toMatchObject({
    code: 'STALE_ENTITY',
    notificationId,
    status,
  });
  expect(await readLog(jobId)).toEqual(now);
  await log.save(Object.assign(await readLog(jobId), { recipientEmail: 'new@example.com' }));
  expect(await readLog(jobId)).toEqual({ ...now, recipientEmail: 'new@example.com' });
});

it('a service that delivers by itself saves what has come of it', async () => {
  const { jobId } = await create();
  await h.jobs.completeJob(await start(jobId), result);
  const sent = { deliveryStatus: DeliveryStatus.SENT, sentAt: new Date() };
  await log.save(Object.assign(await readLog(jobId), sent));
  expect(await readLog(jobId)).toMatchObject(sent);
  // The provider tells later that it has come back.
  const back = { deliveryStatus: DeliveryStatus.FAILED, sentAt: null, errorMessage: 'no such box' };
  await log.save(Object.assign(await readLog(jobId), back));
  expect(await readLog(jobId)).toMatchObject(back);
});

it('who means it can say so: `listeners: false`, an update, a query builder', async () => {
  const { jobId } = await create();
  await h.jobs.failJob(await start(jobId), failure);
  await repository.save({ jobId, status: JobStatus.PENDING }, { listeners: false });
  expect(await read(jobId)).toMatchObject({ status: 'pending', attempts: 0 });
  await repository.update(jobId, { status: JobStatus.FAILED });
  expect((await read(jobId)).status).toBe('failed');
  const pending = { status: JobStatus.PENDING };
  await repository.createQueryBuilder().update().set(pending).where({ jobId }).execute();
  expect((await read(jobId)).status).toBe('pending');
});

it('a data source that was closed and opened again still refuses', async () => {
  const { jobId } = await create();
  const dataSource = h.dataSource;
  await dataSource.destroy();
  await dataSource.initialize();
  const stale = await read(jobId);
  await h.jobs.cancelJob(jobId);
  await expect(repository.save(stale)).rejects.toMatchObject({ code: 'STALE_ENTITY' });
  expect(dataSource).toBeInstanceOf(DataSource);
  expect(dataSource.subscribers.filter(({ beforeUpdate }) => beforeUpdate)).toHaveLength(2);
});

it('who has ended a run by a save may save the same entity again', async () => {
  const { jobId } = await create();
  const job = await start(jobId);
  await repository.save(Object.assign(job, { status: JobStatus.COMPLETED }));
  await repository.save(Object.assign(job, result));
  expect(job).toMatchObject({ status: 'completed', workerId: null, ...result });
  expect(await read(jobId)).toMatchObject({ status: 'completed', workerId: null, ...result });
});

it('saves a job and its notification together, with one statement after the other', async () => {
  const { jobId } = await create();
  const { job, notification } = await h.jobs.failJob(await start(jobId), failure);
  const { subscribers } = h.dataSource;
  const running = { now: 0, most: 0 };
  subscribers.push({
    beforeQuery: () => {
      running.now += 1;
      running.most = Math.max(running.most, running.now);
    },
    afterQuery: () => {
      running.now -= 1;
    },
  });
  const corrected = { errorMessage: 'by hand' };
  await h.dataSource.manager.save([
    Object.assign(job, corrected),
    Object.assign(notification!, corrected),
  ]);
  subscribers.pop();
  expect(running).toEqual({ now: 0, most: 1 });
  expect([await read(jobId), await readLog(jobId)]).toMatchObject([corrected, corrected]);
});

/** The key under which a cache keeps the result of a query. */
const keyOf = ({ identifier, query }: QueryResultCacheOptions): string =>
  JSON.stringify([identifier, query]);

it('compares with the row itself where the application caches all queries', async () => {
  const kept = new Map<string, QueryResultCacheOptions>();
  const provider: QueryResultCache = {
    connect: async () => {},
    disconnect: async () => {},
    synchronize: async () => {},
    clear: async () => {},
    remove: async () => {},
    isExpired: () => false,
    getFromCache: async (options) => kept.get(keyOf(options)),
    storeInCache: async (options) => void kept.set(keyOf(options), options),
  };
  const cache = { alwaysEnabled: true, duration: 60_000, provider: () => provider };
  const cached = await openHarness({ cache });
  try {
    const [{ userId: owner }, jobs] = [await cached.user(), cached.jobs];
    const saved = cached.dataSource.getRepository(VideoJob);
    const { jobId } = await jobs.createJob({ ...video, userId: owner });
    const first = await jobs.startJob(jobId, { leaseMs: 60_000 });
    await saved.save(Object.assign(first, { errorMessage: 'first' }));
    await jobs.releaseJob(first);
    const second = await jobs.startJob(jobId, { leaseMs: 60_000 });
    await saved.save(Object.assign(second, { errorMessage: 'second' }));
    expect(await jobs.getJob(jobId)).toMatchObject({ errorMessage: 'second', runNumber: 2 });
  } finally {
    await cached.close();
  }
});

it('says what to call instead, where a job that was just read is started by a save', async () => {
  const { jobId } = await create();
  const started = { status: JobStatus.PROCESSING, startedAt: new Date() };
  await expect(repository.save(Object.assign(await read(jobId), started))).rejects.toThrow(
    `job ${jobId} was refused, and wrote nothing of it: the job is pending in run 0 now, and the ` +
      `entity is processing in run 0. If you mean to change the status, call startJob,`,
  );
});
