import { ConfigurationError, DatabaseUnavailableError } from '../../src/errors.js';
import { poolLike } from '../../src/connection/pools.js';
import type { PgPool } from '../../src/peers/pg.internals.js';
import { poolsOf } from '../../src/peers/typeorm.internals.js';
import { ChannelListener } from '../../src/sql/channel.listener.js';
import { JobService } from '../../src/jobs/job.service.js';
import { UserService } from '../../src/users/user.service.js';
import { Boot, failedBoot } from '../connection/boot.js';
import { OwnServer } from '../support/own-server.js';
import type { Pooler } from '../support/pgbouncer.js';
import { startPgBouncer } from '../support/pgbouncer.js';
import { until } from '../support/until.js';
import { bootWorker } from '../worker/app.js';

let server: OwnServer;
let pooler: Pooler;
beforeAll(async () => {
  server = await OwnServer.start();
  // A migration needs two connections. One holds the lock, and the other one migrates.
  pooler = await startPgBouncer(server.url, {
    default_pool_size: 2,
    query_wait_timeout: 2,
    server_login_retry: 1,
  });
}, 60_000);
afterAll(async () => {
  await pooler.stop();
  await server.remove();
});

const spoilt = (spoil: (url: URL) => void): string => {
  const url = new URL(pooler.url);
  spoil(url);
  return url.href;
};

// PgBouncer refuses every login with the same code, which PostgreSQL uses for a broken connection.
describe('a login that PgBouncer refuses is reported at once, with its reason', () => {
  it.each<[string, (url: URL) => void, string]>([
    ['a wrong password', (url) => (url.password = 'wrong'), 'SASL authentication failed'],
    ['an unknown user', (url) => (url.username = 'nobody_here'), 'no such user'],
    ['a missing database', (url) => (url.pathname = 'nothing'), '"nothing" does not exist'],
    [
      'a setting that it does not pass on',
      (url) => url.searchParams.set('options', '-c search_path=x'),
      'unsupported startup parameter: options',
    ],
  ])('%s', async (_, spoil, reason) => {
    const { error, told } = await failedBoot({ url: spoilt(spoil), preparedStatements: false });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(
      `/${spoilt(spoil).includes('nothing') ? 'nothing' : 'postgres'}`,
    );
    expect(error.message).toContain('could not log in to the database: ');
    expect(error.message).toContain(reason);
    expect(error.message).toContain(
      reason.startsWith('unsupported')
        ? "name it in PgBouncer's ignore_startup_parameters"
        : 'Correct the user, the password',
    );
    expect(told).toEqual([]);
  });
});

it('a boot waits while the server behind PgBouncer is away, and calls meanwhile fail with DATABASE_UNAVAILABLE', async () => {
  const first = new Boot();
  const dataSource = await first.open({ url: pooler.url, preparedStatements: false });
  expect(first.told).toEqual([expect.stringContaining('Migrated: CreateUsersTable1700000001000')]);
  const jobs = new JobService(dataSource, { preparedStatements: false });
  await server.control('stop', 'immediate');
  await expect(jobs.countJobs()).rejects.toBeInstanceOf(DatabaseUnavailableError);
  const second = new Boot();
  const opening = second.open({ url: pooler.url, preparedStatements: false });
  await until(() => second.told.length > 0);
  expect(second.told[0]).toMatch(
    /^Waiting for the database 127\.0\.0\.1:\d+\/postgres: (query_wait_timeout|server login has been failing|.*pgbouncer cannot connect)/,
  );
  await server.control('start');
  const opened = await opening;
  await until(() =>
    jobs.countJobs().then(
      () => true,
      (error: unknown) => {
        expect(error).toBeInstanceOf(DatabaseUnavailableError);
        return false;
      },
    ),
  );
  await Promise.all([opened.destroy(), dataSource.destroy()]);
});

it('where PgBouncer does not keep prepared statements, the error names the option to set', async () => {
  const dataSource = await new Boot().open({ url: pooler.url, poolSize: 4 });
  const jobs = new JobService(dataSource, { preparedStatements: true });
  let refusal: unknown;
  await until(async () => {
    const calls = Array.from({ length: 4 }, () => jobs.countJobs());
    const outcomes = await Promise.allSettled(calls);
    const refusals = outcomes.filter((outcome) => outcome.status === 'rejected');
    // On a busy machine, a call may also wait for the pooler for too long.
    refusal = refusals.find(({ reason }) => !(reason instanceof DatabaseUnavailableError))?.reason;
    return refusal !== undefined;
  });
  await dataSource.destroy();
  expect(refusal).toBeInstanceOf(ConfigurationError);
  expect((refusal as Error).message).toMatch(
    /^countJobs met a connection pooler that does not keep prepared statements: prepared statement "ff_\w+" (does not exist|already exists)\. Set `preparedStatements: false`, or DB_PREPARED_STATEMENTS=false\.$/,
  );
});

async function deafBehind(url: string): Promise<boolean> {
  const dataSource = await new Boot().open({ url, preparedStatements: false });
  const pool = poolLike(poolsOf(dataSource)[0] as PgPool, { max: 1 });
  let listener: ChannelListener | undefined;
  const outcome = new Promise<boolean>((resolve) => {
    let isHeard = false;
    const follow = {
      what: 'Listening',
      succeeded: () => {},
      wait: async () => {},
      send: async (text: string) => {
        await dataSource.query(`SELECT pg_notify('of_test', $1)`, [text]);
        await dataSource.query(`SELECT pg_notify('of_test', 'heard')`);
        setTimeout(() => resolve(!isHeard), 4_000);
      },
      deaf: () => resolve(true),
    };
    const hear = (): unknown => (isHeard = true);
    listener = new ChannelListener(pool, 'of_test', 1_000, follow, hear, () => {});
    listener.start();
  });
  const isDeaf = await outcome;
  await listener?.stop();
  await pool.end();
  await dataSource.destroy();
  return isDeaf;
}

describe('listening for messages', () => {
  it('a worker whose wake-ups do not arrive warns, and still works', async () => {
    const warnings: string[] = [];
    const logger = { log() {}, error() {}, warn: (text: string) => void warnings.push(text) };
    const database = { preparedStatements: false };
    const app = await bootWorker(pooler.url, { database, logger }, { listen: true, pollMs: 50 });
    try {
      await until(() => warnings.some((text) => text.includes('`listen` does nothing here')));
      const { userId } = await app.get(UserService).createUser({
        username: 'behind_a_pooler',
        email: 'behind@example.com',
        passwordHash: 'of no password',
      });
      const content = { userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' };
      const jobs = app.get(JobService);
      const { jobId } = await jobs.createJob(content);
      await until(async () => (await jobs.getJob(jobId)).status === 'completed');
    } finally {
      await app.close();
    }
  });

  it('is reported as impossible through a pool in transaction mode', async () => {
    expect(await deafBehind(pooler.url)).toBe(true);
  });

  it('works through a pool in session mode, without a warning', async () => {
    const session = await startPgBouncer(server.url, { pool_mode: 'session' });
    expect(await deafBehind(session.url)).toBe(false);
    await session.stop();
  });
});
