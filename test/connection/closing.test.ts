import { Client } from 'pg';
import type { DataSource } from 'typeorm';
import { DatabaseUnavailableError } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { User } from '../../src/schema/entities/index.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';
import { until } from '../support/until.js';
import { Boot } from './boot.js';

let database: TestDatabase;
let url: string;
beforeAll(async () => {
  database = await createDatabase();
  url = database.url;
  await (await new Boot().open({ url })).destroy();
});
afterAll(() => database.drop());

/** Waits until a statement with this text runs in the server. */
const running = (text: string): Promise<void> =>
  until(async () => {
    const rows = await query(
      url,
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
         AND pid <> pg_backend_pid() AND query LIKE '%${text}%'`,
    );
    return rows.length === 1;
  });

const slow = (dataSource: DataSource, seconds: number): Promise<unknown> =>
  dataSource.query(`SELECT pg_sleep(${seconds}) AS slept, 'done' AS said`);

const HELD = 'SELECT pg_advisory_xact_lock(1)';

/** Begins a statement, and waits until it runs. @returns the statement, and a function that lets it go on */
async function held(
  dataSource: DataSource,
): Promise<{ statement: Promise<unknown>; release: () => Promise<void> }> {
  const holder = new Client({ connectionString: url });
  await holder.connect();
  // The lock belongs to a transaction, because behind a pooler clients share sessions.
  await holder.query(`BEGIN; ${HELD}`);
  const statement = dataSource.query(`${HELD} AS got, 'done' AS said`);
  await running('pg_advisory_xact_lock(1) AS got');
  return { statement, release: () => holder.end() };
}

describe('a data source that is closed', () => {
  it('lets a statement in flight finish', async () => {
    const dataSource = await new Boot().open({ url });
    const { statement, release } = await held(dataSource);
    const closed = dataSource.destroy();
    await release();
    await closed;
    expect(await statement).toMatchObject([{ said: 'done' }]);
  });

  it('lets a transaction finish, with all statements that it still has to send', async () => {
    const dataSource = await new Boot().open({ url });
    let closed: Promise<void> | undefined;
    const name = `closing-${Date.now()}`;
    const written = await dataSource.transaction(async (manager) => {
      closed = dataSource.destroy();
      await manager.query('SELECT pg_sleep(0.2)');
      return manager.save(
        manager.create(User, { username: name, email: `${name}@x.org`, passwordHash: 'x' }),
      );
    });
    await closed;
    expect(await query(url, `SELECT "userId" FROM users WHERE username = '${name}'`)).toEqual([
      { userId: written.userId },
    ]);
  });

  it('serves calls that already wait for a connection', async () => {
    const dataSource = await new Boot().open({ url, poolSize: 1 });
    const { statement, release } = await held(dataSource);
    const statements = [statement, slow(dataSource, 0), slow(dataSource, 0)];
    const closed = dataSource.destroy();
    await release();
    await closed;
    for (const rows of await Promise.all(statements))
      expect(rows).toMatchObject([{ said: 'done' }]);
  });

  it('refuses new calls, and says why', async () => {
    const dataSource = await new Boot().open({ url });
    const jobs = new JobService(dataSource);
    const { statement, release } = await held(dataSource);
    const closed = dataSource.destroy();
    await expect(jobs.countJobs()).rejects.toThrow(
      'countJobs could not reach the database: the data source is closing',
    );
    await release();
    await closed;
    await statement;
    await expect(jobs.countJobs()).rejects.toBeInstanceOf(DatabaseUnavailableError);
  });

  it('ends what takes too long, logs it, and leaves no call waiting', async () => {
    const boot = new Boot();
    const dataSource = await boot.open({ url, poolSize: 1, shutdownTimeoutMs: 200 });
    const jobs = new JobService(dataSource);
    const outcomes = [slow(dataSource, 600), slow(dataSource, 0), jobs.countJobs()].map((call) =>
      call.then(
        () => 'done',
        (error: unknown) => error,
      ),
    );
    await running('pg_sleep(600)');
    await dataSource.destroy();
    // The other calls may succeed or fail, but none may wait for ever.
    const [ended] = await Promise.all(outcomes);
    expect(ended).toMatchObject({ message: 'Connection terminated' });
    expect(boot.told).toEqual([
      '1 connections were still in use 200 ms after the application began to ' +
        'close, and are ended now. Nobody learns whether their statements were done.',
    ]);
  });

  it('gives up a connection that is being opened and gets no answer', async () => {
    const proxy = await Proxy.start(url);
    const options = { shutdownTimeoutMs: 100, connectTimeoutMS: 3_600_000 };
    const dataSource = await new Boot().open({ url: proxy.url, ...options });
    const first = dataSource.createQueryRunner();
    await first.connect();
    proxy.silent = true;
    const second = slow(dataSource, 0).then(
      () => 'done',
      () => 'given up',
    );
    await until(() => proxy.traffic.connections > 1);
    await first.release();
    await dataSource.destroy();
    expect(await second).toBe('given up');
    await proxy.stop();
  });

  it('may be closed twice at once, as two shutdown signals do', async () => {
    const dataSource = await new Boot().open({ url });
    await Promise.all([dataSource.destroy(), dataSource.destroy()]);
    expect(dataSource.isInitialized).toBe(false);
  });

  it('can be initialized again', async () => {
    const dataSource = await new Boot().open({ url });
    await dataSource.destroy();
    await dataSource.initialize();
    expect(await slow(dataSource, 0)).toMatchObject([{ said: 'done' }]);
    await dataSource.destroy();
  });
});
