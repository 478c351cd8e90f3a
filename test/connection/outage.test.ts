import { Client } from 'pg';
import type { DataSource } from 'typeorm';
import { DatabaseUnavailableError, InvalidInputError } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { poolsOf } from '../../src/peers/typeorm.internals.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';
import { until } from '../support/until.js';
import { Boot } from './boot.js';

// These tests connect to the server itself, because a pooler would hide a broken connection from its clients.
let database: TestDatabase;
let serverUrl: string;
let proxy: Proxy;
let dataSource: DataSource;
let jobs: JobService;
beforeEach(async () => {
  database = await createDatabase();
  serverUrl = onServer(database.url);
  proxy = await Proxy.start(serverUrl);
  dataSource = await new Boot().open({ url: proxy.url, poolSize: 2, shutdownTimeoutMs: 1000 });
  jobs = new JobService(dataSource);
});
afterEach(async () => {
  await dataSource.destroy();
  await proxy.stop();
  await database.drop();
});

/** Ends the backends of the data source, with or without a statement. */
const terminate = (condition = 'true'): Promise<unknown> =>
  query(
    serverUrl,
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND ${condition}`,
  );

const NONE = { pending: 0, processing: 0, completed: 0, failed: 0 };

describe('connections that break', () => {
  it('while idle are replaced', async () => {
    await Promise.all([jobs.countJobs(), jobs.countJobs()]);
    const [pool] = poolsOf(dataSource);
    await terminate();
    await until(() => pool?.totalCount === 0);
    expect(await jobs.countJobs()).toEqual(NONE);
  });

  it('while they open fail the call, and nothing else', async () => {
    const [pool] = poolsOf(dataSource);
    const first = dataSource.createQueryRunner();
    await first.connect();
    proxy.withholding = true;
    const second = jobs.countJobs().catch((error: unknown) => error);
    const opening = `datname = current_database() AND state = 'idle' AND query = ''`;
    await until(async () => {
      const rows = await query(serverUrl, `SELECT FROM pg_stat_activity WHERE ${opening}`);
      return rows.length === 1;
    });
    await terminate(opening);
    expect(await second).toBeInstanceOf(DatabaseUnavailableError);
    proxy.withholding = false;
    await first.release();
    await until(() => pool?.totalCount === 1);
    expect(await jobs.countJobs()).toEqual(NONE);
  });

  it('during a statement fail it, and are never used again', async () => {
    const locker = new Client({ connectionString: serverUrl });
    await locker.connect();
    await locker.query('BEGIN; LOCK TABLE video_jobs IN ACCESS EXCLUSIVE MODE');
    const stuck = jobs.countJobs().catch((error: unknown) => error);
    const waits = `datname = current_database() AND wait_event_type = 'Lock'`;
    await until(async () => {
      const rows = await query(serverUrl, `SELECT FROM pg_stat_activity WHERE ${waits}`);
      return rows.length === 1;
    });
    proxy.lingering = true;
    await terminate(waits);
    const error = await stuck;
    await locker.end();
    expect(error).toBeInstanceOf(DatabaseUnavailableError);
    expect((error as Error).message).toBe(
      'countJobs could not reach the database: terminating connection due to administrator command. ' +
        'Try again when it is back; the package opens connections again by itself.',
    );
    expect(await jobs.countJobs()).toEqual(NONE);
  });

  it('during a transaction fail the calls that are in it', async () => {
    const outcome = await dataSource
      .transaction(async (manager) => {
        const client = (await manager.queryRunner?.connect()) as NodeJS.EventEmitter;
        const broken = new Promise((resolve) => client.once('end', resolve));
        await terminate(`pid = ${(client as unknown as { processID: number }).processID}`);
        await broken;
        await jobs.countJobs({}, { manager });
      })
      .catch((error: unknown) => error);
    expect(outcome).toBeInstanceOf(DatabaseUnavailableError);
    expect((outcome as Error).message).toContain('the connection of the transaction broke');
    expect(await jobs.countJobs()).toEqual(NONE);
  });

  it('are not confused with a transaction that is over', async () => {
    const over = await dataSource.transaction(async (manager) => manager);
    await expect(jobs.countJobs({}, { manager: over })).rejects.toBeInstanceOf(InvalidInputError);
  });

  it('while the server is away fail each call, and later calls succeed', async () => {
    const port = Number(new URL(proxy.url).port);
    await proxy.stop();
    for (let i = 0; i < 5; i++) {
      await expect(jobs.countJobs()).rejects.toBeInstanceOf(DatabaseUnavailableError);
    }
    await expect(jobs.createJobs([])).resolves.toEqual([]);
    proxy = await Proxy.start(serverUrl, port);
    expect(await jobs.countJobs()).toEqual(NONE);
  });

  it('leave no listeners behind', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on('warning', onWarning);
    const [pool] = poolsOf(dataSource) as unknown as NodeJS.EventEmitter[];
    const listeners = (): number[] =>
      (pool?.eventNames() ?? []).map((name) => pool?.listenerCount(name) ?? 0);
    const before = listeners();
    for (let i = 0; i < 15; i++) {
      const calls = [jobs.countJobs(), jobs.countJobs(), jobs.countJobs()];
      if (i % 3 === 0) proxy.cut();
      await Promise.allSettled(calls);
    }
    expect(listeners()).toEqual(before);
    const queryRunner = dataSource.createQueryRunner();
    const client = (await queryRunner.connect()) as NodeJS.EventEmitter;
    // The listener of TypeORM, and ours for a connection that ends while it opens.
    expect(client.listenerCount('error')).toBe(2);
    await queryRunner.release();
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });
});
