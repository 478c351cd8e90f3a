import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import type { LoggerService } from '@nestjs/common';
import { EveryLevel } from '../support/every-level.js';
import { Proxy } from '../support/proxy.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

/** Texts that no line of a log may contain. */
const PASSWORD = 'hunter2xyzzy';
const HASH = '$2b$10$neverToBeSeen';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

it('no line that a worker logs in its whole life, at any level, has a password, a hash or a URL', async () => {
  const { dataSource } = world.harness;
  const printed: string[] = [];
  const note = (...parts: unknown[]): void => {
    printed.push(parts.map((part) => inspect(part, { depth: 10 })).join(' '));
  };
  const logger: LoggerService = {
    log: note,
    warn: note,
    error: note,
    debug: note,
    verbose: note,
    fatal: note,
  };
  const told = (text: string, from = 0): Promise<void> =>
    until(() => printed.slice(from).some((line) => line.includes(text)));
  const user = await world.harness.user({ passwordHash: HASH });
  const create = async (...filenames: string[]): Promise<{ jobId: string }[]> =>
    world.harness.jobs.createJobs(
      world.inputs(...filenames).map((input) => ({ ...input, userId: user.userId })),
    );

  const role = `swept_${randomUUID().replaceAll('-', '')}`;
  await dataSource.query(`CREATE ROLE ${role} LOGIN SUPERUSER PASSWORD '${PASSWORD}'`);
  // This connects to the server itself, because the pooler does not know this role.
  const proxy = await Proxy.start(onServer(world.harness.url));
  const url = new URL(proxy.url);
  url.username = role;
  url.password = PASSWORD;
  const app = await bootWorker(
    url.href,
    {
      logger,
      database: { logger: new EveryLevel(note), logging: 'all', notifyWorkers: true, listen: true },
      process: async ({ filename }) => {
        if (filename === 'fails') throw new Error('it does not work');
        if (filename !== 'writes') return RESULT;
        return async (manager) => {
          // The error of PostgreSQL contains the refused row. The application itself must hide its own parameters.
          await manager.query(
            `INSERT INTO users SELECT "userId", username, email, "passwordHash" FROM users`,
          );
          return RESULT;
        };
      },
      deliver: (_, { job, attempt }) =>
        job.filename === 'refused' && attempt === 1
          ? Promise.reject(new Error('The provider refuses.'))
          : Promise.resolve(),
    },
    {
      listen: true,
      // A busy machine must not lose a lease: no job has a second try.
      leaseMs: 3_000,
      pollMs: 50,
      maxAttempts: 1,
      deliveryBackoff: { baseMs: 1, maxMs: 10 },
    },
  );
  try {
    const [works, fails, writes, refused] = await create('works', 'fails', 'writes', 'refused');
    for (const job of [works, refused]) {
      expect(await world.final(job!)).toMatchObject({ status: 'completed' });
    }
    for (const job of [fails, writes]) {
      expect(await world.final(job!)).toMatchObject({ status: 'failed' });
    }
    await told('The provider refuses.');
    // Every connection breaks, and meanwhile the password is changed.
    await dataSource.query(`ALTER ROLE ${role} PASSWORD 'another'`);
    proxy.cut();
    await told('password authentication failed');
    await dataSource.query(`ALTER ROLE ${role} PASSWORD '${PASSWORD}'`);
    await told('The database works again.');
    const [later] = await create('later');
    expect(await world.final(later!)).toMatchObject({ status: 'completed' });
    // From here to the end, the server does not answer.
    const from = printed.length;
    proxy.freeze();
    await told('is tried again until it works', from);
  } finally {
    proxy.cut();
    await app.close();
    await proxy.stop();
    await dataSource.query(`DROP ROLE ${role}`);
  }
  const text = printed.join('\n');
  for (const what of ['processing jobs in', 'failed (attempt 1), for good', 'UPDATE']) {
    expect(text).toContain(what);
  }
  for (const secret of [PASSWORD, HASH, 'postgres://', 'postgresql://']) {
    const at = text.indexOf(secret);
    expect(at < 0 ? '' : text.slice(Math.max(at - 300, 0), at + 100)).toBe('');
  }
});
