import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { run } from '../../src/cli/cli.commands.js';
import { resolveOptions } from '../../src/database.options.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import { isPostgresUrl } from '../../src/database.url.js';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import { UserService } from '../../src/users/user.service.js';
import { Boot, migration } from '../connection/boot.js';
import type { Harness } from '../support/harness.js';
import { EveryLevel } from '../support/every-level.js';
import { openHarness } from '../support/harness.js';

/** Passwords and hashes of this test. No output and no error may contain one of them. */
const PASSWORD = 'hunter2xyzzy';
const HASH = '$2b$10$neverToBeSeen';

/** The lines that were logged and printed. */
let printed: string[] = [];
const note = (...parts: unknown[]): void => {
  printed.push(parts.map((part) => inspect(part, { depth: 10 })).join(' '));
};

/** All that a host can print of an error: its text, its properties as JSON, and those of its causes. */
function told(error: unknown, depth = 0): string {
  if (typeof error !== 'object' || error === null || depth > 10) return String(error);
  const { cause, errors } = error as { cause?: unknown; errors?: unknown };
  const names = Object.getOwnPropertyNames(error);
  const properties = Object.fromEntries(
    names.map((name) => [name, inspect((error as Record<string, unknown>)[name], { depth: 10 })]),
  );
  return [
    inspect(error, { depth: 10 }),
    String(error),
    JSON.stringify(properties),
    told(cause, depth + 1),
    told(errors, depth + 1),
  ].join('\n');
}

/** Returns the error of a call that must fail, after a search for secrets in all that it printed. */
async function failed(work: Promise<unknown>): Promise<Error & { code?: string }> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason as Error,
  );
  expect(error).toBeInstanceOf(Error);
  note(told(error));
  return error as Error;
}

let h: Harness;
beforeAll(async () => {
  h = await openHarness({ logger: new EveryLevel(note), logging: 'all' });
});
afterAll(() => h.close());
beforeEach(() => {
  printed = [];
});
afterEach(() => {
  const text = printed.join('\n');
  expect(text).not.toBe('');
  for (const secret of [PASSWORD, HASH]) {
    const at = text.indexOf(secret);
    expect(at < 0 ? '' : text.slice(Math.max(at - 200, 0), at + 100)).toBe('');
  }
});

function setEnvironment(name: string, value?: string): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

/** Runs a command line under an environment of its own, and keeps what it printed. */
async function command(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const names = ['DATABASE_URL', 'DB_HOST', 'DB_PORT', 'DB_USER', 'DB_PASSWORD', 'DB_NAME'];
  const before = names.map((name) => [name, process.env[name]] as const);
  for (const name of names) setEnvironment(name, env[name]);
  try {
    return await run(args, { out: note, err: note });
  } finally {
    for (const [name, value] of before) setEnvironment(name, value);
  }
}

async function open(options: FrameForgeDatabaseOptions): Promise<unknown> {
  const { dataSource, boot } = resolveOptions({ connectRetryMs: 0, ...options }, {});
  return openDataSource(dataSource, boot, { log: note, warn: note });
}

const COMMANDS = [['migrate'], ['revert'], ['status'], ['check'], ['adopt', '--time-zone', 'UTC']];

/** URLs in which the password is written so that a parser takes it for another part, or for no part. */
const ODD_URLS = [
  `postgres://u:12/${PASSWORD}@127.0.0.1:1/db`,
  `postgres://u:12/34%zz${PASSWORD}@127.0.0.1:1/db`,
  `postgres://u:%zz${PASSWORD}@127.0.0.1:1/db`,
  `postgres://u:1?${PASSWORD}@127.0.0.1:1/db`,
  `postgres://u:1#${PASSWORD}@127.0.0.1:1/db`,
  `postgres://u:${PASSWORD}/db`,
  `postgres:/u:${PASSWORD}@127.0.0.1:1/db`,
  `mysql://u:${PASSWORD}@127.0.0.1:1/db`,
  `postgres://u:${PASSWORD}@127.0.0.1:1/db?ssl=perhaps`,
  `postgres://u:${PASSWORD}@127.0.0.1:1/db?nonsense=1`,
  `postgres://127.0.0.1:1/db?password=${PASSWORD}&sslmode=perhaps`,
];

describe.each(ODD_URLS)('a URL such as %s', (url) => {
  it('shows nothing of itself by forRoot', async () => {
    await failed(open({ url }));
    await failed(open({ replication: { master: { url }, slaves: [] } }));
    // Here the URL is given as the name of a host or of a database.
    await failed(open({ host: url, username: 'u', database: 'db' }));
    await failed(open({ host: '127.0.0.1', port: 1, username: 'u', database: url }));
    await failed(open({ replication: { master: { host: url }, slaves: [] } }));
  });

  it('shows nothing of itself by frameforge-db', async () => {
    expect(await command(['status'], { DATABASE_URL: url })).toBe(1);
    expect(await command(['status'], { DB_HOST: url, DB_USER: 'u', DB_NAME: 'db' })).toBe(1);
  });
});

it.each(ODD_URLS.filter((url) => !isPostgresUrl(url)))(
  'a file with a data source of a URL such as %s shows nothing of it',
  async (url) => {
    const folder = await mkdtemp(join(tmpdir(), 'frameforge-secrets-'));
    try {
      const file = join(folder, 'data-source.mjs');
      const options = JSON.stringify({ type: 'postgres', url });
      await writeFile(file, `export default { options: ${options}, initialize() {} };`);
      expect(await command(['status', '-d', file], {})).toBe(1);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);

it('a wrong password is not in what a boot or a command tells', async () => {
  const url = new URL(h.url);
  url.username = 'nobody_of_that_name';
  url.password = PASSWORD;
  const boot = new Boot();
  const error = await failed(boot.open({ url: url.href, connectRetryMs: 0 }));
  expect(error.code).toBe('CONFIGURATION_INVALID');
  note(boot.told);
  for (const args of COMMANDS) expect(await command(args, { DATABASE_URL: url.href })).toBe(1);
});

describe('a hash that a constraint of the application refuses', () => {
  it.each([
    ['a CHECK of the hash', `CHECK ("passwordHash" NOT LIKE '%Seen')`],
    ['a CHECK of another column', `CHECK ("email" NOT LIKE '%new%')`],
    ['a unique hash', 'UNIQUE ("passwordHash")'],
    ['an exclusion', 'EXCLUDE USING btree ("passwordHash" WITH =)'],
  ])('is in no error and no log: %s', async (_what, constraint) => {
    await h.dataSource.query('DELETE FROM users');
    const service = new UserService(h.dataSource);
    const first = { username: 'first', email: 'first@example.com', passwordHash: `${HASH}Seen?` };
    const second = { username: 'second', email: 'second@example.com', passwordHash: `${HASH}2` };
    const { userId } = await service.createUser(first);
    await service.createUser(second);
    await h.dataSource.query(`ALTER TABLE users ADD CONSTRAINT of_host ${constraint}`);
    // The SQL of this test has been logged until now. It does not count.
    printed = [];
    const change = { email: 'new@example.com', passwordHash: `${HASH}2` };
    try {
      if (constraint.startsWith('CHECK')) {
        change.passwordHash = `${HASH}Seen`;
        const third = { username: 'third', email: 'new@x.org', passwordHash: `${HASH}Seen` };
        await failed(service.createUser(third));
      }
      await failed(service.updateUser(userId, change));
      if (constraint.includes('email'))
        await failed(service.updateUser(userId, { email: 'new@x.org' }));
      const joined = h.dataSource.transaction((manager) =>
        service.updateUser(userId, change, { manager }),
      );
      await failed(joined);
    } finally {
      await h.dataSource.query('ALTER TABLE users DROP CONSTRAINT of_host');
    }
  });

  it.each([
    ['a row', (name: string) => [`INSERT INTO users VALUES (NULL, $1, $1, $2)`, [name, HASH]]],
    ['a text', (name: string) => [`INSERT INTO users VALUES (NULL, '${name}', '', '${HASH}')`]],
  ] as const)('is in no error of a migration that writes it: %s', async (_what, statement) => {
    const [text, parameters] = statement('somebody') as [string, unknown[]?];
    const broken = migration('Broken1800000001000', (runner) => runner.query(text, parameters));
    const boot = new Boot();
    const error = await failed(boot.open({ url: h.url, migrations: [broken] }));
    expect(error.code).toBe('MIGRATION_FAILED');
    expect(error.message).toMatch(/null value/);
    note(boot.told);
  });
});
