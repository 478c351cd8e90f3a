import { randomUUID } from 'node:crypto';
import type { Repository } from 'typeorm';
import { NotificationLog, User, VideoJob } from '../../src/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { expectHidden, SECRET, renderings } from './renderings.js';

let h: Harness;
let users: Repository<User>;
let user: User;
beforeAll(async () => {
  h = await openHarness();
  users = h.dataSource.getRepository(User);
});
afterAll(() => h.close());
beforeEach(async () => {
  user = await users.save(draft());
});

const draft = (): User => {
  const name = randomUUID();
  return users.create({ username: name, email: `${name}@example.com`, passwordHash: SECRET });
};

const where = () => ({ userId: user.userId });

const stored = async (): Promise<string | undefined> =>
  (
    await users.findOne({
      where: { userId: user.userId },
      select: { userId: true, passwordHash: true },
    })
  )?.passwordHash;

const finishedJob = async (): Promise<VideoJob> => {
  const job = await h.jobs.createJob({ ...where(), filename: 'f', videoUrl: 's3://b/k' });
  const run = await h.jobs.startJob(job.jobId);
  await h.jobs.completeJob(run, { resultUrl: 's3://b/r', frameCount: 1 });
  return run;
};

it('this test finds a hash that is not hidden', () => {
  for (const [index, rendering] of renderings({ passwordHash: SECRET }).entries()) {
    expect([index, rendering.includes(SECRET)]).toEqual([index, true]);
  }
});

describe('no query that does not ask for it by name returns passwordHash', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['find', () => users.find()],
    ['findBy', () => users.findBy(where())],
    ['findOne', () => users.findOne({ where: where() })],
    ['findOneByOrFail', () => users.findOneByOrFail(where())],
    ['findAndCount', () => users.findAndCount({ where: where() })],
    ['find by the hash itself', () => users.find({ where: { passwordHash: SECRET } })],
    ['getMany', () => users.createQueryBuilder('u').getMany()],
    ['getOne', () => users.createQueryBuilder('u').where(where()).getOne()],
    ['getRawMany', () => users.createQueryBuilder('u').getRawMany()],
    ['getRawAndEntities', () => users.createQueryBuilder('u').getRawAndEntities()],
    ['select of an alias', () => users.createQueryBuilder().select('u').from(User, 'u').getMany()],
    ['save', () => users.save(draft())],
    ['save of a plain object', () => users.save({ ...user, username: randomUUID() })],
    ['insert', () => users.insert(draft())],
    ['update', () => users.update(where(), { passwordHash: SECRET })],
    ['preload', () => users.preload({ ...where(), username: randomUUID() })],
    [
      'relations of a job',
      async () => {
        await h.jobs.createJob({ ...where(), filename: 'f', videoUrl: 's3://b/k' });
        return h.dataSource
          .getRepository(VideoJob)
          .find({ where: where(), relations: { user: true } });
      },
    ],
    [
      'relations of a notification, by further queries',
      async () => {
        await finishedJob();
        return h.dataSource.getRepository(NotificationLog).find({
          where: { job: where() },
          relations: { job: { user: true } },
          relationLoadStrategy: 'query',
        });
      },
    ],
    [
      'a join of the query builder',
      async () => {
        await finishedJob();
        return h.dataSource
          .getRepository(VideoJob)
          .createQueryBuilder('j')
          .innerJoinAndSelect('j.user', 'u')
          .where('j.userId = :userId', where())
          .getMany();
      },
    ],
  ])('%s', async (_, query) => {
    const result = await query();
    expect(result).toBeTruthy();
    expectHidden(result);
  });
});

describe('a query that asks for it by name', () => {
  it.each<[string, () => Promise<User | undefined | null>]>([
    [
      'find',
      () =>
        users.findOne({
          where: { userId: user.userId },
          select: { userId: true, passwordHash: true },
        }),
    ],
    [
      'the query builder',
      () =>
        users
          .createQueryBuilder('u')
          .addSelect('u.passwordHash')
          .where({ userId: user.userId })
          .getOne(),
    ],
    [
      'a relation',
      async () => {
        await h.jobs.createJob({ userId: user.userId, filename: 'f', videoUrl: 's3://b/k' });
        const job = await h.dataSource.getRepository(VideoJob).findOne({
          where: { userId: user.userId },
          relations: { user: true },
          select: { jobId: true, user: { userId: true, passwordHash: true } },
        });
        return job?.user;
      },
    ],
  ])('gets it, on an instance that hides it from JSON and logs: %s', async (_, query) => {
    const found = await query();
    expect(found).toBeInstanceOf(User);
    expect(found?.passwordHash).toBe(SECRET);
    expectHidden(found);
  });
});

describe('the column works like any other', () => {
  it('can be read after a save, and is hidden', async () => {
    expect(user.passwordHash).toBe(SECRET);
    expectHidden(user);
    expect(await stored()).toBe(SECRET);
  });

  it('does not change when a user who was read without it is saved', async () => {
    const found = await users.findOneByOrFail({ userId: user.userId });
    expect(found.passwordHash).toBeUndefined();
    await users.save(Object.assign(found, { username: randomUUID() }));
    expect(await stored()).toBe(SECRET);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['save', () => users.save(Object.assign(user, { passwordHash: 'new' }))],
    ['save of a plain object', () => users.save({ userId: user.userId, passwordHash: 'new' })],
    ['update', () => users.update({ userId: user.userId }, { passwordHash: 'new' })],
    ['merge', () => users.save(users.merge(user, { passwordHash: 'new' }))],
    [
      'preload',
      async () => {
        const loaded = await users.preload({ userId: user.userId, passwordHash: 'new' });
        expect(loaded?.passwordHash).toBe('new');
        return users.save(loaded as User);
      },
    ],
    ['upsert', () => users.upsert(users.create({ ...user, passwordHash: 'new' }), ['email'])],
    [
      'the query builder',
      () =>
        users
          .createQueryBuilder()
          .update()
          .set({ passwordHash: 'new' })
          .where({ userId: user.userId })
          .execute(),
    ],
  ])('is changed by %s', async (_, change) => {
    await change();
    expect(await stored()).toBe('new');
  });

  it('belongs to one instance: clones, proxies and other instances do not have it', () => {
    const other = users.create({ passwordHash: 'other' });
    expect([user.passwordHash, other.passwordHash]).toEqual([SECRET, 'other']);
    const clone = Object.assign(Object.create(User.prototype) as User, user);
    expect(clone.passwordHash).toBeUndefined();
    expect(new Proxy(user, {}).username).toBe(user.username);
    expect(new Proxy(user, {}).passwordHash).toBeUndefined();
    expect(structuredClone(user)).not.toHaveProperty('passwordHash');
  });

  it('can be read from an entity that TypeORM makes without its constructor', async () => {
    const skipping = await openHarness({ entitySkipConstructor: true });
    try {
      const { userId } = await skipping.user({ passwordHash: SECRET });
      const found = await skipping.dataSource
        .getRepository(User)
        .findOne({ where: { userId }, select: { userId: true, passwordHash: true } });
      expect(found?.passwordHash).toBe(SECRET);
      expectHidden(found);
    } finally {
      await skipping.close();
    }
  });
});
