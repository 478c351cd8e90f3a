import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import type { QueryRunner } from 'typeorm';
import { User, UserConflictError } from '../../src/index.js';
import type { UserService } from '../../src/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { expectHidden } from '../schema/renderings.js';

const HASH = '$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$c2VjcmV0';

let h: Harness;
let users: UserService;
const logged: string[] = [];
const isRunner = (each: unknown): boolean =>
  (each as QueryRunner | undefined)?.manager !== undefined;
const log = (...args: unknown[]): void =>
  void logged.push(inspect(args.filter((each) => !isRunner(each))));
beforeAll(async () => {
  const logger = { logQuery: log, logQueryError: log, logQuerySlow: log, logSchemaBuild: log };
  h = await openHarness({
    logging: true,
    maxQueryExecutionTime: 1,
    logger: { ...logger, logMigration: log, log },
  });
  ({ users } = h);
});
afterAll(() => h.close());
beforeEach(() => logged.splice(0));

const newcomer = (): { username: string; email: string; passwordHash: string } => {
  const username = `u_${randomUUID().slice(0, 8)}`;
  return { username, email: `${username}@example.com`, passwordHash: HASH };
};
const hashOf = async (userId: string): Promise<string> => {
  const [row] = await h.dataSource.query(
    `SELECT "passwordHash" FROM users WHERE "userId" = '${userId}'`,
  );
  return row.passwordHash;
};

describe('createUser', () => {
  it('creates a user, and returns it without the hash', async () => {
    const input = newcomer();
    const user = await users.createUser(input);
    expect(user).toBeInstanceOf(User);
    const { username, email } = input;
    expect(user).toMatchObject({ username, email, createdAt: expect.any(Date) });
    expect(user.updatedAt).toEqual(user.createdAt);
    expect(user.passwordHash).toBeUndefined();
    const stored = await h.dataSource.getRepository(User).findOneByOrFail({ username });
    expect(stored).toEqual(user);
    expect(await hashOf(user.userId)).toBe(HASH);
  });

  it.each([
    ['username', 'ab'],
    ['username', 'a'.repeat(51)],
    ['username', 'ann lee'],
    ['username', 'ann-lee'],
    ['username', 'änn'],
    ['username', 'ann\n'],
    ['email', 'ann'],
    ['email', `${'a'.repeat(250)}@b.org`],
    ['passwordHash', ''],
    ['passwordHash', 'a'.repeat(256)],
  ])('refuses a wrong %s: %j', async (property, value) => {
    await expect(users.createUser({ ...newcomer(), [property]: value })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      problems: [{ property }],
    });
    expect(logged).toEqual([]);
  });

  it.each(['abc', 'A'.repeat(50), '_1_'])('accepts the username %s', async (username) => {
    expect(await users.createUser({ ...newcomer(), username })).toMatchObject({ username });
  });

  it.each(['username', 'email'] as const)('reports that the %s is taken', async (property) => {
    const first = newcomer();
    await users.createUser(first);
    const second = { ...newcomer(), [property]: first[property] };
    await expect(users.createUser(second)).rejects.toEqual(new UserConflictError(property));
  });

  it('reports the username if both are taken', async () => {
    const input = newcomer();
    await users.createUser(input);
    await expect(users.createUser(input)).rejects.toMatchObject({ property: 'username' });
  });

  it('creates one user when several calls are made at the same time, and tells the others why they failed', async () => {
    const input = newcomer();
    const calls = Array.from({ length: 8 }, (_, index) =>
      users.createUser(index % 2 ? input : { ...input, username: newcomer().username }),
    );
    const ended = await Promise.allSettled(calls);
    expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const one of ended) {
      if (one.status === 'rejected') expect(one.reason).toBeInstanceOf(UserConflictError);
    }
  });

  it('waits for a transaction that creates the same user, and succeeds if it is rolled back', async () => {
    const input = newcomer();
    let second: Promise<User> | undefined;
    await h.dataSource
      .transaction(async (manager) => {
        await users.createUser(input, { manager });
        second = users.createUser(input);
        throw new Error('undone');
      })
      .catch(() => {});
    expect(await second).toMatchObject({ username: input.username });
  });

  it('reports a refusal by a unique index of the application', async () => {
    await h.dataSource.query('CREATE UNIQUE INDEX own ON users (lower(email))');
    try {
      const input = newcomer();
      const { userId } = await users.createUser(input);
      const email = input.email.toUpperCase();
      const conflict = new UserConflictError('email');
      await expect(users.createUser({ ...newcomer(), email })).rejects.toEqual(conflict);
      const other = await users.createUser(newcomer());
      await expect(users.updateUser(other.userId, { email })).rejects.toEqual(conflict);
      expect(await users.updateUser(userId, { email })).toMatchObject({ email });
    } finally {
      await h.dataSource.query('DROP INDEX own');
    }
  });
});

describe('findForLogin', () => {
  it.each(['username', 'email'] as const)('finds a user by the %s, with the hash', async (by) => {
    const input = newcomer();
    const user = await users.createUser(input);
    const found = await users.findForLogin({ [by]: input[by] } as never);
    expect(found).toEqual(user);
    expect(found?.passwordHash).toBe(HASH);
    expectHidden(found);
  });

  it('finds nobody', async () => {
    expect(await users.findForLogin({ username: randomUUID() })).toBeNull();
    expect(await users.findForLogin({ email: "' OR true --" })).toBeNull();
  });

  it.each<[string, object]>([
    ['neither', {}],
    ['both', { username: 'ann', email: 'ann@example.com' }],
    ['undefined', { username: undefined }],
  ])('refuses %s', async (_, input) => {
    await expect(users.findForLogin(input as never)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      problems: [{ property: 'username' }],
    });
  });
});

describe('updateUser', () => {
  it('changes the address, the hash, or both, and nothing else', async () => {
    const user = await users.createUser(newcomer());
    const { email } = newcomer();
    const moved = await users.updateUser(user.userId, { email });
    expect(moved).toEqual({ ...user, email, updatedAt: moved.updatedAt });
    expect(moved.updatedAt.getTime()).toBeGreaterThanOrEqual(user.updatedAt.getTime());
    expect(await hashOf(user.userId)).toBe(HASH);
    expect(await users.updateUser(user.userId, { passwordHash: 'new' })).toMatchObject({ email });
    expect(await hashOf(user.userId)).toBe('new');
    const both = { email: newcomer().email, passwordHash: 'newer' };
    expect((await users.updateUser(user.userId, both)).passwordHash).toBeUndefined();
    expect(await users.findForLogin({ email: both.email })).toMatchObject({
      passwordHash: 'newer',
    });
  });

  it('accepts the address that the user already has', async () => {
    const { userId, email } = await users.createUser(newcomer());
    expect(await users.updateUser(userId, { email })).toMatchObject({ email });
  });

  it('refuses an unknown user, an empty change, and the address of another', async () => {
    const id = randomUUID();
    await expect(users.updateUser(id, { passwordHash: 'x' })).rejects.toMatchObject({
      code: 'USER_NOT_FOUND',
      message: expect.stringContaining('nothing was changed'),
    });
    await expect(users.updateUser(id, {})).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    const [a, b] = [await users.createUser(newcomer()), await users.createUser(newcomer())];
    await expect(users.updateUser(a.userId, { email: b.email })).rejects.toEqual(
      new UserConflictError('email'),
    );
  });

  it('tells the second of two simultaneous calls that the address is taken', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => users.createUser(newcomer())));
    const { email } = newcomer();
    const ended = await Promise.allSettled(
      all.map(({ userId }) => users.updateUser(userId, { email })),
    );
    expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const one of ended) {
      if (one.status === 'rejected') expect(one.reason).toEqual(new UserConflictError('email'));
    }
  });
});

it('writes the hash to no log, also when a statement fails', async () => {
  const { userId } = await users.createUser(newcomer());
  await users.updateUser(userId, { passwordHash: HASH });
  await h.dataSource.query('ALTER TABLE users ADD CONSTRAINT never CHECK (false) NOT VALID');
  const failed = users.createUser(newcomer()).catch((error: Error) => JSON.stringify(error));
  expect(await failed).not.toContain(HASH);
  await h.dataSource.query('ALTER TABLE users DROP CONSTRAINT never');
  expect(logged.some((line) => line.includes('INSERT INTO'))).toBe(true);
  expect(logged.filter((line) => line.includes('argon2id'))).toEqual([]);
});
