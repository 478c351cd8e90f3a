import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { DataSource } from 'typeorm';
import type { EntityManager } from 'typeorm';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import { resolveOptions } from '../../src/database.options.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import {
  ConfigurationError,
  DatabaseUnavailableError,
  FrameForgeError,
  MigrationError,
  TransactionConflictError,
} from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import { createDatabase, onServer, otherDatabase } from '../support/server.js';
import { until } from '../support/until.js';

let h: Harness;
let userId: string;
beforeEach(async () => {
  // These tests connect to the server itself: a pooler has its own messages, and one code for all of them.
  const database = await createDatabase();
  const server = { url: onServer(database.url), drop: () => database.drop() };
  h = await openHarness({}, server);
  ({ userId } = await h.user());
});
afterEach(() => h.close());

/** Returns the error with which a call rejects. */
async function failureOf(call: Promise<unknown>): Promise<FrameForgeError> {
  const error = await call.then(
    () => new Error('The call succeeded.'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FrameForgeError);
  return error as FrameForgeError;
}

const content = () => ({ userId, filename: 'f', videoUrl: 's3://b/k' });
const failed = async (): Promise<string> => {
  const { jobId } = await h.jobs.createJob(content());
  await h.jobs.failJob(await h.jobs.startJob(jobId), { errorMessage: 'x' });
  return jobId;
};
/** Waits until a statement of this database waits for a lock. */
const blocked = (): Promise<void> =>
  until(async () => {
    const rows = await query(
      h.url,
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rows.length > 0;
  });

describe('TransactionConflictError', () => {
  const message =
    'retryJob collided with another transaction, and the database rolled it back. ' +
    'Retry the whole transaction.';

  it('reports a row that changed since the snapshot of a repeatable read (40001)', async () => {
    const jobId = await failed();
    const error = await failureOf(
      h.dataSource.transaction('REPEATABLE READ', async (manager) => {
        await h.jobs.countJobs({}, { manager });
        await h.jobs.retryJob(jobId);
        await h.jobs.retryJob(jobId, { manager });
      }),
    );
    expect(error).toBeInstanceOf(TransactionConflictError);
    expect(error).toMatchObject({
      name: 'TransactionConflictError',
      code: 'TRANSACTION_CONFLICT',
      message,
      cause: { code: '40001' },
    });
    expect(await h.jobs.getJob(jobId)).toMatchObject({ status: 'pending' });
  });

  it('reports a deadlock (40P01), in which one of both transactions succeeds', async () => {
    const [a, b] = [await failed(), await failed()];
    let ready = 0;
    const both = async (manager: EntityManager, first: string, second: string): Promise<void> => {
      await manager.query(`SET LOCAL deadlock_timeout = '10ms'`);
      await h.jobs.retryJob(first, { manager });
      ready += 1;
      await until(() => ready === 2);
      await h.jobs.retryJob(second, { manager });
    };
    const results = await Promise.allSettled([
      h.dataSource.transaction((manager) => both(manager, a, b)),
      h.dataSource.transaction((manager) => both(manager, b, a)),
    ]);
    const reasons = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    );
    expect(reasons).toHaveLength(1);
    expect(reasons[0]).toBeInstanceOf(TransactionConflictError);
    expect(reasons[0]).toMatchObject({ message, cause: { code: '40P01' } });
    expect((await h.jobs.countJobs()).pending).toBe(2);
  });
});

describe('DatabaseUnavailableError', () => {
  it('reports a connection that an administrator ended during the statement (57P01); the next call succeeds', async () => {
    const jobId = await failed();
    const holder = h.dataSource.createQueryRunner();
    await holder.startTransaction();
    await h.jobs.retryJob(jobId, { manager: holder.manager });
    const waiting = failureOf(h.jobs.retryJob(jobId));
    await blocked();
    await query(
      h.url,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    const error = await waiting;
    await holder.rollbackTransaction();
    await holder.release();
    expect(error).toBeInstanceOf(DatabaseUnavailableError);
    expect(error).toMatchObject({
      name: 'DatabaseUnavailableError',
      code: 'DATABASE_UNAVAILABLE',
      message:
        'retryJob could not reach the database: terminating connection due to administrator ' +
        'command. Try again when it is back; the package opens connections again by itself. The reply was ' +
        'lost, so a write may have been done. Repeat the call with the same jobId or handle: ' +
        'it does nothing twice, and its answer tells. createJob without a jobId would create a second job.',
      outcome: 'unknown',
      cause: { code: '57P01' },
    });
    expect(await h.jobs.retryJob(jobId)).toMatchObject({ status: 'pending' });
  });

  it('reports a read-only server (25006), such as a former primary', async () => {
    await query(
      h.url,
      `DO $$ BEGIN
         EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
       END $$`,
    );
    const replica = await connect({ migrationsRun: false });
    try {
      const error = await failureOf(new JobService(replica).createJob(content()));
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error).toMatchObject({ cause: { code: '25006' } });
    } finally {
      await replica.destroy();
    }
  });

  it('reports a connection that broke, and one that was refused (ECONNREFUSED)', async () => {
    const proxy = await Proxy.start(h.url);
    const dataSource = await connect({ url: proxy.url, poolSize: 1 });
    const jobs = new JobService(dataSource);
    const lock = h.dataSource.createQueryRunner();
    await lock.startTransaction();
    await lock.query('LOCK TABLE video_jobs IN ACCESS EXCLUSIVE MODE');
    const waiting = failureOf(jobs.countJobs());
    await blocked();
    proxy.cut();
    const broken = await waiting;
    expect(broken).toBeInstanceOf(DatabaseUnavailableError);
    expect(broken.message).toMatch(
      /^countJobs could not reach the database: (Connection terminated unexpectedly|read ECONNRESET)\. /,
    );
    await lock.rollbackTransaction();
    await lock.release();
    await proxy.stop();
    const refused = await failureOf(jobs.countJobs());
    expect(refused).toBeInstanceOf(DatabaseUnavailableError);
    expect(refused).toMatchObject({
      message: expect.stringMatching(
        /^countJobs could not reach the database: connect ECONNREFUSED/,
      ),
      cause: { code: 'ECONNREFUSED' },
    });
    await dataSource.destroy();
  });

  it('reports a server that accepts connections and does not answer', async () => {
    const proxy = await Proxy.start(h.url);
    proxy.silent = true;
    try {
      const error = await failureOf(connect({ url: proxy.url, connectTimeoutMS: 100 }));
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error.message).toMatch(/timeout/);
    } finally {
      await proxy.stop();
    }
  });

  it('reports a role that has no connection left (53300)', async () => {
    await asRole('LOGIN CONNECTION LIMIT 0', async (url) => {
      const error = await failureOf(connect({ url }));
      expect(error).toBeInstanceOf(DatabaseUnavailableError);
      expect(error).toMatchObject({ cause: { code: '53300' } });
    });
  });

  it('reports a host name whose addresses all refuse', async () => {
    // The server closes at once, so nothing listens on its port.
    const server = createServer().listen(0);
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const error = await failureOf(connect({ url: `postgres://a:b@localhost:${port}/x` }));
    expect(error).toBeInstanceOf(DatabaseUnavailableError);
    expect(error.message).toContain('ECONNREFUSED');
    expect(error.message).not.toContain('AggregateError');
  });

  it('reports a data source that was closed', async () => {
    const dataSource = await connect({});
    const jobs = new JobService(dataSource);
    await jobs.countJobs();
    await dataSource.destroy();
    const error = await failureOf(jobs.countJobs());
    expect(error).toBeInstanceOf(DatabaseUnavailableError);
  });
});

describe('MigrationError', () => {
  it.each([
    ['DROP TABLE notification_log CASCADE', '42P01', 'relation "notification_log" does not exist'],
    [
      'ALTER TABLE notification_log DROP COLUMN "runNumber"',
      '42703',
      'column n.runNumber does not exist',
    ],
  ])('reports a schema of an older release: %s', async (change, code, reason) => {
    await h.dataSource.query(change);
    const error = await failureOf(h.notifications.listNotifications());
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({
      name: 'MigrationError',
      code: 'MIGRATION_FAILED',
      message:
        `listNotifications needs a table, column or schema that does not exist: ${reason}. ` +
        `Run the migrations of this release first.`,
      cause: { code },
    });
  });
});

describe('ConfigurationError', () => {
  it('reports a role without the privileges (42501)', async () => {
    await asRole('LOGIN', async (url) => {
      const dataSource = await connectBare(url);
      const error = await failureOf(new JobService(dataSource).countJobs());
      await dataSource.destroy();
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error).toMatchObject({
        name: 'ConfigurationError',
        code: 'CONFIGURATION_INVALID',
        message:
          'countJobs is not allowed to this database role: permission denied for table video_jobs. ' +
          'Grant the role the privileges listed in docs/roles.md.',
        cause: { code: '42501' },
      });
    });
  });

  it('reports a wrong password (28P01)', async () => {
    await asRole('LOGIN', async (url) => {
      const wrong = new URL(url);
      wrong.password = 'wr0ng';
      const error = await failureOf(connect({ url: wrong.href }));
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error).toMatchObject({ cause: { code: '28P01' } });
      expect(error.message).toMatch(
        /password authentication failed for user "test_\w+"\. Correct the user, the password or the database's name\.$/,
      );
      expect(error.message).not.toContain('wr0ng');
    });
  });

  it('reports that no password is given where the server wants one', async () => {
    // The driver leaves that connection open and forgets it, so the relay ends it.
    const proxy = await Proxy.start(h.url);
    const url = new URL(proxy.url);
    url.password = '';
    try {
      const error = await failureOf(connect({ url: url.href }));
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error.message).toMatch(
        /could not log in to the database: SASL: .*password must be a .*string\. Correct the user, /,
      );
    } finally {
      await proxy.stop();
    }
  });

  it('reports a role that may not log in (28000)', async () => {
    await asRole('NOLOGIN', async (url) => {
      const error = await failureOf(connect({ url }));
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error).toMatchObject({ cause: { code: '28000' } });
    });
  });

  it('reports a database that does not exist (3D000)', async () => {
    const error = await failureOf(connect({ url: otherDatabase(h.url, 'not_there') }));
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error).toMatchObject({ cause: { code: '3D000' } });
  });
});

it('does not replace other errors, about which a caller can do nothing', async () => {
  await h.dataSource.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = 'P0001'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON video_jobs FOR EACH ROW EXECUTE FUNCTION refuse()`);
  await expect(h.jobs.createJob(content())).rejects.toMatchObject({
    code: 'P0001',
    message: 'not today',
  });
});

/** Opens a data source of this package on the database of the test, and tries once. */
function connect(options: FrameForgeDatabaseOptions): Promise<DataSource> {
  const resolved = resolveOptions({ url: h.url, connectRetryMs: 0, ...options });
  return openDataSource(resolved.dataSource, resolved.boot, { log: () => {}, warn: () => {} });
}

/** Opens a data source without a look at the migrations, which the role may not read. */
function connectBare(url: string): Promise<DataSource> {
  return new DataSource(resolveOptions({ url }).dataSource).initialize();
}

/** Runs a test with a role of its own, which may do nothing but what its attributes say. */
async function asRole(attributes: string, test: (url: string) => Promise<void>): Promise<void> {
  const role = `test_${Math.random().toString(36).slice(2)}`;
  await query(h.url, `CREATE ROLE ${role} PASSWORD 'r1ght' ${attributes}`);
  const url = new URL(h.url);
  url.username = role;
  url.password = 'r1ght';
  try {
    await test(url.href);
  } finally {
    await query(h.url, `DROP ROLE ${role}`);
  }
}
