import { types } from 'pg';
import { DataSource } from 'typeorm';
import {
  DatabaseUnavailableError,
  StatementTimeoutError,
  TransactionConflictError,
} from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import type { ServiceOptions } from '../../src/sql/sql.runner.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { sql } from '../../src/sql/statement.js';
import { JobStatistics } from '../../src/statistics/job.statistics.js';
import { UserService } from '../../src/users/user.service.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import { createDatabase, onServer } from '../support/server.js';
import { until } from '../support/until.js';

let h: Harness;
let userId: string;
beforeEach(async () => {
  // These tests connect to the server itself, because they are about sessions, which a pooler shares among clients.
  const database = await createDatabase();
  h = await openHarness({}, { url: onServer(database.url), drop: () => database.drop() });
  ({ userId } = await h.user());
});
afterEach(() => h.close());

const content = () => ({ userId, filename: 'f', videoUrl: 's3://b/k' });
const failureOf = (call: Promise<unknown>): Promise<Record<string, unknown>> =>
  call.then(
    () => ({ message: 'It succeeded.' }),
    (error: Record<string, unknown>) => error,
  );

/** A data source on the same database. */
async function open(options: object = {}, url = h.url): Promise<DataSource> {
  const { entities } = h.dataSource.options;
  return new DataSource({
    type: 'postgres',
    url,
    entities,
    installExtensions: false,
    ...options,
  }).initialize();
}

/** Changes a setting for new sessions of the database. */
const alter = (setting: string): Promise<unknown> =>
  query(
    h.url,
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET ${setting.replaceAll("'", "''")}', current_database()); END $$`,
  );

const waiting = async (count: number): Promise<void> =>
  until(async () => {
    const rows = await query(
      h.url,
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rows.length === count;
  });

const isolation = () => sql`SELECT current_setting('transaction_isolation') AS level`;

describe('a server that goes silent', () => {
  it('is given up after replyTimeoutMs, and the error says that the write may have been done', async () => {
    const proxy = await Proxy.start(h.url);
    const dataSource = await open({}, proxy.url);
    try {
      const jobs = new JobService(dataSource, { replyTimeoutMs: 200 });
      const patient = new JobService(dataSource);
      await patient.countJobs();
      proxy.freeze();
      const error = await failureOf(jobs.createJob({ ...content(), jobId: randomId() }));
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error['outcome']).toBe('unknown');
      expect(error['message']).toContain('the server did not reply within 200 ms');
      expect(error['message']).toContain('a write may have been done');
      // The silent connection is not used again.
      expect(await patient.countJobs()).toMatchObject({ processing: 0 });
    } finally {
      await dataSource.destroy();
      await proxy.stop();
    }
  });

  it.each<[string, (dataSource: DataSource, options: ServiceOptions) => () => Promise<unknown>]>([
    [
      'UserService',
      (...args) => {
        const users = new UserService(...args);
        return () => users.findForLogin({ username: 'ada' });
      },
    ],
    [
      'NotificationService',
      (...args) => {
        const notifications = new NotificationService(...args);
        return () => notifications.listNotifications();
      },
    ],
    [
      'JobStatistics',
      (...args) => {
        const statistics = new JobStatistics(...args);
        return () => statistics.now();
      },
    ],
  ])('is given up by %s, too', async (_, callOf) => {
    const proxy = await Proxy.start(h.url);
    const dataSource = await open({}, proxy.url);
    try {
      // Only the call that gets no reply has a short limit.
      await callOf(dataSource, {})();
      proxy.freeze();
      const error = await failureOf(callOf(dataSource, { replyTimeoutMs: 200 })());
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error['message']).toContain('the server did not reply within 200 ms');
    } finally {
      await dataSource.destroy();
      await proxy.stop();
    }
  });

  it('before the statement is sent: the error says that nothing was done', async () => {
    const proxy = await Proxy.start(h.url);
    const dataSource = await open({}, proxy.url);
    const holder = dataSource.createQueryRunner();
    try {
      await holder.connect();
      proxy.silent = true;
      const jobs = new JobService(dataSource, { replyTimeoutMs: 200 });
      const error = await failureOf(jobs.createJob(content()));
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error['outcome']).toBe('not done');
      expect(error['message']).not.toContain('in use');
    } finally {
      await holder.release();
      proxy.cut();
      await dataSource.destroy();
      await proxy.stop();
    }
  });

  it('at the COMMIT of a transaction of its own: the error says that the transaction may have been committed', async () => {
    const proxy = await Proxy.start(h.url);
    const dataSource = await open({}, proxy.url);
    try {
      const runner = new SqlRunner(dataSource, true, { replyTimeoutMs: 1_000 });
      const error = await failureOf(
        runner.transaction('claimJobs', async (run) => {
          await run(() => ({ ...isolation(), writes: true }), []);
          proxy.freeze();
        }),
      );
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error['outcome']).toBe('unknown');
      // The silent connection is not used again.
      expect(await new SqlRunner(dataSource, true).run('test', isolation, [])).toHaveLength(1);
    } finally {
      await dataSource.destroy();
      await proxy.stop();
    }
  });

  it('in a joined transaction that the runner has to limit: the transaction ends', async () => {
    const proxy = await Proxy.start(h.url);
    const dataSource = await open({}, proxy.url);
    try {
      const limits = { replyTimeoutMs: 1_000, boundsJoined: true };
      const bounded = new SqlRunner(dataSource, true, limits);
      const error = await failureOf(
        dataSource.transaction(async (manager) => {
          await bounded.run('first', isolation, [], { manager });
          proxy.freeze();
          await bounded.run('second', isolation, [], { manager });
        }),
      );
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error['outcome']).toBe('not done');
      expect(error['message']).toContain('the server did not reply within 1000 ms');
    } finally {
      await dataSource.destroy();
      await proxy.stop();
    }
  });
});

const randomId = (): string => crypto.randomUUID();

describe('a pool that is full', () => {
  it('is named in the error, with the reason and what to do', async () => {
    const dataSource = await open({ poolSize: 3 });
    const locker = h.dataSource.createQueryRunner();
    const [first, second] = [dataSource.createQueryRunner(), dataSource.createQueryRunner()];
    try {
      await locker.startTransaction();
      await locker.query('LOCK TABLE video_jobs IN ACCESS EXCLUSIVE MODE');
      await first.startTransaction();
      await second.connect();
      const patient = new JobService(dataSource);
      const counting = patient.countJobs();
      await waiting(1);
      const hasty = new JobService(dataSource, { replyTimeoutMs: 100 });
      const error = await failureOf(hasty.createJob(content()));
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error['outcome']).toBe('not done');
      expect(error['message']).toBe(
        'createJob got no connection: all 3 connections (1 by countJobs, 1 in transactions of the ' +
          'application, 1 by other statements of the application) of the pool are in use. Inside a ' +
          "transaction pass `{ manager }`, so that the call uses the transaction's connection. " +
          'Otherwise raise `poolSize`.',
      );
      await locker.rollbackTransaction();
      await counting;
    } finally {
      await Promise.all([first, second, locker].map((runner) => runner.release()));
      await dataSource.destroy();
    }
  });
});

describe('a statement that takes too long for the database', () => {
  it.each([
    ['statement_timeout', '57014'],
    ['lock_timeout', '55P03'],
  ])('is a StatementTimeoutError: %s', async (setting, code) => {
    await alter(`${setting} = 500`);
    const dataSource = await open();
    const locker = h.dataSource.createQueryRunner();
    try {
      await locker.startTransaction();
      await locker.query('LOCK TABLE video_jobs IN ACCESS EXCLUSIVE MODE');
      const error = await failureOf(new JobService(dataSource).createJob(content()));
      expect(error).toBeInstanceOf(StatementTimeoutError);
      expect(error).toMatchObject({ code: 'STATEMENT_TIMEOUT', cause: { code } });
      expect(error['message']).toContain('wrote nothing');
      await locker.rollbackTransaction();
      expect(await h.jobs.countJobs()).toMatchObject({ pending: 0 });
    } finally {
      await locker.release();
      await dataSource.destroy();
    }
  });
});

describe('a prepared plan that does not exist any more', () => {
  it('is prepared again after a column was widened', async () => {
    const dataSource = await open({ poolSize: 1 });
    const jobs = new JobService(dataSource, { preparedStatements: true });
    const { jobId } = await jobs.createJob(content());
    await jobs.getJob(jobId);
    await h.dataSource.query('ALTER TABLE video_jobs ALTER COLUMN filename TYPE text');
    expect(await jobs.getJob(jobId)).toMatchObject({ filename: 'f' });
    expect(await jobs.getJob(jobId)).toMatchObject({ filename: 'f' });
    await dataSource.destroy();
  });

  it('is prepared again after the application discarded it', async () => {
    const dataSource = await open({ poolSize: 1 });
    const jobs = new JobService(dataSource, { preparedStatements: true });
    const { jobId } = await jobs.createJob(content());
    await jobs.getJob(jobId);
    await dataSource.query('DISCARD ALL');
    expect(await jobs.getJob(jobId)).toMatchObject({ filename: 'f' });
    await dataSource.destroy();
  });

  it('in a transaction, is prepared again when the transaction is repeated', async () => {
    const dataSource = await open({ poolSize: 1 });
    const jobs = new JobService(dataSource, { preparedStatements: true });
    const { jobId } = await jobs.createJob(content());
    const read = () => dataSource.transaction((manager) => jobs.getJob(jobId, { manager }));
    await read();
    await h.dataSource.query('ALTER TABLE video_jobs ALTER COLUMN filename TYPE text');
    expect(await failureOf(read())).toBeInstanceOf(TransactionConflictError);
    expect(await read()).toMatchObject({ filename: 'f' });
    await dataSource.destroy();
  });
});

describe('a connection in a transaction', () => {
  it('that a program has returned to the pool is not used for a write', async () => {
    const dataSource = await open({ poolSize: 1 });
    const careless = dataSource.createQueryRunner();
    await careless.query('BEGIN');
    await careless.release();
    const { jobId } = await new JobService(dataSource).createJob(content());
    expect(await h.jobs.getJob(jobId)).toMatchObject({ filename: 'f' });
    await dataSource.destroy();
  });
});

describe.each(['repeatable read', 'serializable'])('where the default is %s', (level) => {
  it('statements run under READ COMMITTED, and none has a conflict', async () => {
    await alter(`default_transaction_isolation = '${level}'`);
    const dataSource = await open({ poolSize: 8 });
    const jobs = new JobService(dataSource);
    await jobs.createJobs(Array.from({ length: 200 }, content));
    const claimed = await Promise.all(
      Array.from({ length: 40 }, () => jobs.claimJobs({ limit: 5 })),
    );
    expect(new Set(claimed.flat().map(({ jobId }) => jobId)).size).toBe(200);
    const runner = new SqlRunner(dataSource, true);
    expect(await runner.run('test', isolation, [])).toEqual([{ level: 'read committed' }]);
    // Afterwards, the session has its own isolation level again.
    const [row] = await dataSource.query<{ level: string }[]>(
      `SELECT current_setting('transaction_isolation') AS level`,
    );
    expect(row).toEqual({ level });
    await dataSource.destroy();
  });
});

describe('results', () => {
  it('are the same whatever parsers the application has set', async () => {
    const oids = [16, 20, 21, 23, 701, 1184, 3802];
    const before = oids.map((oid) => types.getTypeParser(oid) as (text: string) => unknown);
    try {
      for (const oid of oids) types.setTypeParser(oid, () => 'not what was stored');
      const [job] = await h.jobs.createJobs([content()]);
      expect(job?.createdAt).toBeInstanceOf(Date);
      expect((await h.jobs.listJobs()).jobs).toEqual([job]);
      const [claimed] = await h.jobs.claimJobs();
      expect(claimed).toMatchObject({ runNumber: 1, attempts: 1 });
      expect(claimed?.availableAt).toBeInstanceOf(Date);
    } finally {
      oids.forEach((oid, index) => types.setTypeParser(oid, before[index] as never));
    }
  });

  it.each([
    `datestyle = 'SQL, DMY'`,
    `datestyle = 'German'`,
    `datestyle = 'Postgres, MDY'`,
    `timezone = 'Asia/Kolkata'`,
    `timezone = 'America/St_Johns'`,
    `intervalstyle = 'sql_standard'`,
    `extra_float_digits = -15`,
    `bytea_output = 'escape'`,
  ])('are the same with %s', async (setting) => {
    const { jobId } = await h.jobs.createJob({
      ...content(),
      availableAt: new Date('2031-02-03T04:05:06.078Z'),
    });
    const expected = await h.jobs.getJob(jobId);
    expect(expected.availableAt).toEqual(new Date('2031-02-03T04:05:06.078Z'));
    await alter(setting);
    const dataSource = await open();
    const jobs = new JobService(dataSource);
    expect(await jobs.getJob(jobId)).toEqual(expected);
    const joined = await dataSource.transaction((manager) =>
      Promise.all([jobs.getJob(jobId, { manager }), jobs.listJobs({}, { manager })]),
    );
    expect(joined).toEqual([expected, { jobs: [expected], nextCursor: null }]);
    await dataSource.destroy();
  });

  it('are the same after the application changed the style of a session', async () => {
    const dataSource = await open({ poolSize: 1 });
    const jobs = new JobService(dataSource);
    const job = await jobs.createJob(content());
    await dataSource.query(`SET datestyle = 'German'`);
    expect(await jobs.getJob(job.jobId)).toEqual(job);
    const [{ DateStyle }] = await dataSource.query<[{ DateStyle: string }]>('SHOW DateStyle');
    expect(DateStyle).toBe('German, DMY');
    await dataSource.destroy();
  });
});

it('a runner in a transaction writes nothing outside of it', async () => {
  const queryRunner = h.dataSource.createQueryRunner();
  await queryRunner.startTransaction();
  const { manager } = queryRunner;
  const jobs = new JobService(h.dataSource, {
    runner: new SqlRunner(h.dataSource, false, { manager }),
  });
  await jobs.createJob(content());
  expect(await jobs.claimJobs()).toHaveLength(1);
  expect(await h.jobs.countJobs()).toMatchObject({ pending: 0, processing: 0 });
  await queryRunner.rollbackTransaction();
  await queryRunner.release();
});
