import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Client } from 'pg';
import { migrationLockKey } from '../../src/migrations/migration.lock.js';
import { ConfigurationError, DatabaseUnavailableError, MigrationError } from '../../src/errors.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';
import { until } from '../support/until.js';
import { Boot, bootOnce, failedBoot, migration } from './boot.js';

const OURS = [
  'CreateUsersTable1700000001000',
  'CreateVideoJobsTable1700000002000',
  'CreateNotificationLogTable1700000003000',
];

let database: TestDatabase;
let url: string;
beforeEach(async () => {
  database = await createDatabase();
  url = database.url;
});
afterEach(() => database.drop());

const applied = async (): Promise<unknown[]> =>
  (await query(url, 'SELECT name FROM migrations ORDER BY id')).map(({ name }) => name);
const tables = async (): Promise<unknown[]> =>
  (await query(url, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)).map(
    ({ tablename }) => tablename,
  );

/** A port on which nothing listens. */
async function deadUrl(): Promise<{ dead: string; port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  const dead = new URL(url);
  dead.host = `127.0.0.1:${port}`;
  return { dead: dead.href, port };
}

describe('migrations at boot', () => {
  it('run on an empty database, and are logged once', async () => {
    const told = await bootOnce({ url });
    expect(told).toHaveLength(1);
    expect(told[0]).toContain(`Migrated: ${OURS.join(', ')}`);
    expect((await applied()).slice(0, 3)).toEqual(OURS);
  });

  it('have nothing to do on a second boot, and log nothing', async () => {
    await bootOnce({ url });
    expect(await bootOnce({ url })).toEqual([]);
  });

  it('of the application and of this package run together, in the order of their timestamps', async () => {
    const early = migration('Early1600000000000', (q) => q.query('CREATE TABLE early (n int)'));
    const late = migration('Late1800000000000', (q) => q.query('CREATE TABLE late (n int)'));
    await bootOnce({ url, migrations: [late, early] });
    const names = await applied();
    expect(names[0]).toBe('Early1600000000000');
    expect(names.at(-1)).toBe('Late1800000000000');
  });

  it('create a schema that is missing, and create all tables in it', async () => {
    await bootOnce({ url, schema: 'Frame Forge' });
    expect(await tables()).toEqual([]);
    const rows = await query(url, 'SELECT count(*)::int AS n FROM "Frame Forge".migrations');
    expect(rows[0]?.['n']).toBeGreaterThanOrEqual(OURS.length);
  });

  it('need only a pool of one connection', async () => {
    await bootOnce({ url, poolSize: 1 });
    expect(await applied()).toContain(OURS[0]);
  });

  it('may create an index concurrently while other replicas wait for the lock', async () => {
    const migrations = [
      migration(
        'CreateIndexConcurrently1800000000000',
        (q) => q.query('CREATE INDEX CONCURRENTLY "idx_host" ON "users" ("createdAt")'),
        { transaction: false },
      ),
    ];
    const boots = Array.from({ length: 4 }, () => bootOnce({ url, migrations, poolSize: 1 }));
    const told = (await Promise.all(boots)).flat();
    expect(told.filter((line) => line.includes('Migrated'))).toHaveLength(1);
    const valid = await query(
      url,
      `SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = '"idx_host"'::regclass`,
    );
    expect(valid).toEqual([{ valid: true }]);
  });
});

describe('a migration that fails', () => {
  const broken = migration('Broken1800000000000', async (q) => {
    await q.query('CREATE TABLE half (n int)');
    await q.query('SELECT * FROM no_such_table');
  });

  it('is reported at once, by name, and leaves nothing behind', async () => {
    const { error, told } = await failedBoot({ url, migrations: [broken] });
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toBe(
      'Migrating: Broken1800000000000 failed: relation "no_such_table" does not exist. ' +
        'It was rolled back; those before it are applied. Correct the migration, and start again.',
    );
    expect(told).toEqual([]);
    expect(await tables()).not.toContain('half');
    expect(await applied()).toEqual(expect.arrayContaining(OURS));
  });

  it('says what to look at when it has no transaction', async () => {
    const bare = migration('Bare1800000000000', new broken().up, { transaction: false });
    const { error } = await failedBoot({ url, migrations: [bare] });
    expect(error.message).toContain('Bare1800000000000 failed');
    expect(error.message).toContain('It has no transaction: look what remains of it');
    expect(await tables()).toContain('half');
  });

  it('also rolls back the others in transaction mode "all", and is named in the error', async () => {
    const { error } = await failedBoot({
      url,
      migrations: [broken],
      migrationsTransactionMode: 'all',
    });
    expect(error.message).toContain('Broken1800000000000 failed');
    expect(error.message).toContain('All that this run had done was rolled back');
    expect(await applied()).toEqual([]);
  });

  it('leaves the database in a state in which the corrected release boots', async () => {
    await failedBoot({ url, migrations: [broken] });
    const mended = migration('Broken1800000000000', (q) => q.query('CREATE TABLE half (n int)'));
    await bootOnce({ url, migrations: [mended] });
    expect(await tables()).toContain('half');
  });

  it('because the role may not change the schema: the error names the role that may', async () => {
    await query(url, 'CREATE ROLE "no_ddl" LOGIN PASSWORD \'secret\'').catch(() => {});
    await query(url, 'REVOKE CREATE ON SCHEMA public FROM PUBLIC');
    const asRole = new URL(url);
    asRole.username = 'no_ddl';
    asRole.password = 'secret';
    const { error } = await failedBoot({ url: asRole.href });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toBe(
      'Migrating the database is not allowed to this database role: permission denied for schema ' +
        'public. Run npx frameforge-db migrate with the role that owns the schema, and set ' +
        '`migrationsRun: false` here. docs/roles.md has the SQL for both roles.',
    );
  });

  it('because two migrations have the same name: this is reported before anything runs', async () => {
    const twin = migration(OURS[0] ?? '', async () => {});
    const { error } = await failedBoot({ url, migrations: [twin] });
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toBe(
      `This application's migrations cannot run: Duplicate migrations: ${OURS[0]}. Rename them.`,
    );
    expect(await tables()).toEqual([]);
  });
});

describe('a database of another release', () => {
  const newer = migration('FromTheFuture1700000999000', async () => {});

  it('that is newer is logged once, and used', async () => {
    await bootOnce({ url, migrations: [newer] });
    const told = await bootOnce({ url });
    expect(told).toEqual([
      'The database has migrations that this release does not know: FromTheFuture1700000999000. ' +
        'A newer release has migrated it; the boot goes on, because a rolling deployment needs that.',
    ]);
  });

  it('that is newer is refused with requireCurrentSchema', async () => {
    await bootOnce({ url, migrations: [newer] });
    const { error } = await failedBoot({ url, requireCurrentSchema: true });
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toContain('FromTheFuture1700000999000');
    expect(error.message).toContain('deploy that release, or turn off requireCurrentSchema');
  });

  it('that is older is logged with migrationsRun: false, and not changed', async () => {
    const told = await bootOnce({ url, migrationsRun: false });
    expect(told).toHaveLength(1);
    expect(told[0]).toContain(`${OURS.join(', ')}`);
    expect(told[0]).toContain('npx frameforge-db migrate');
    expect(await tables()).toEqual([]);
  });

  it('that is older is refused with migrationsRun: false and requireCurrentSchema', async () => {
    const { error } = await failedBoot({ url, migrationsRun: false, requireCurrentSchema: true });
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toContain(OURS[0]);
  });
});

describe('nothing pending', () => {
  it('takes no lock: it boots while another process holds it', async () => {
    const dataSource = await new Boot().open({ url });
    const holder = new Client({ connectionString: url, application_name: 'the holder' });
    await holder.connect();
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${migrationLockKey(dataSource)})`);
    try {
      await dataSource.destroy();
      expect(await bootOnce({ url, migrationsLockTimeoutMs: 0 })).toEqual([]);
    } finally {
      await holder.end();
    }
  });

  it('costs one round trip more than TypeORM alone', async () => {
    await bootOnce({ url });
    const proxy = await Proxy.start(url);
    try {
      const boot = new Boot();
      const ours = await boot.open({ url: proxy.url });
      const { connections, roundTrips } = proxy.traffic;
      const { options } = ours;
      await ours.destroy();
      const { DataSource } = await import('typeorm');
      proxy.reset();
      const bare = await new DataSource({ ...options, migrations: [] }).initialize();
      expect({ connections, roundTrips }).toEqual({
        connections: proxy.traffic.connections,
        roundTrips: proxy.traffic.roundTrips + 1,
      });
      await bare.destroy();
    } finally {
      await proxy.stop();
    }
  });
});

describe('a database that cannot be reached', () => {
  it('is waited for, and the log says why', async () => {
    const { dead, port } = await deadUrl();
    const boot = new Boot();
    const opening = boot.open({ url: dead });
    await until(() => boot.told.length > 0);
    const proxy = await Proxy.start(url, port);
    try {
      await (await opening).destroy();
      const name = new URL(url).pathname.slice(1);
      expect(boot.told[0]).toBe(
        `Waiting for the database 127.0.0.1:${port}/${name}: connect ECONNREFUSED 127.0.0.1:${port}.`,
      );
    } finally {
      await proxy.stop();
    }
  });

  it('fails the boot after connectRetryMs', async () => {
    const { dead, port } = await deadUrl();
    const { error, told } = await failedBoot({ url: dead, connectRetryMs: 500 });
    expect(error).toBeInstanceOf(DatabaseUnavailableError);
    expect(error.message).toContain(`Booting on 127.0.0.1:${port}/`);
    expect(error.message).toContain('ECONNREFUSED');
    // Each reason is logged once, however many tries there were.
    expect(told).toHaveLength(1);
  });

  it('fails at once with connectRetryMs: 0', async () => {
    const { dead } = await deadUrl();
    const { error, told } = await failedBoot({ url: dead, connectRetryMs: 0 });
    expect(error).toBeInstanceOf(DatabaseUnavailableError);
    expect(told).toEqual([]);
  });

  it('is named in the log when it accepts connections and does not answer', async () => {
    const proxy = await Proxy.start(url);
    proxy.silent = true;
    const boot = new Boot();
    const opening = boot.open({ url: proxy.url });
    try {
      await until(() => boot.told.length > 0);
      expect(boot.told[0]).toMatch(/^Waiting for the database .*: it has not answered yet\.$/);
      proxy.silent = false;
      proxy.cut();
      await (await opening).destroy();
    } finally {
      await proxy.stop();
    }
  });
});

describe('an error while TypeORM opens the data source', () => {
  it('fails the boot, which does not wait for the connection in use', async () => {
    // A pooler would keep a connection from before the change.
    const server = onServer(url);
    const name = new URL(url).pathname.slice(1);
    await query(
      server,
      `CREATE SCHEMA odd;
       CREATE FUNCTION odd.version() RETURNS text LANGUAGE plpgsql
         AS $$ BEGIN RAISE 'no version today'; END $$;
       ALTER DATABASE ${name} SET search_path = odd, pg_catalog, public`,
    );
    const { error } = await failedBoot({ url: server });
    expect(error.message).toContain('no version today');
  });

  it('is waited for when the server ends connections with the bytes that open them', async () => {
    // A pooler opens no connection for this one.
    const server = onServer(url);
    const proxy = await Proxy.start(server);
    const opening = `datname = current_database() AND state = 'idle' AND query = ''`;
    const endNext = async (): Promise<void> => {
      await until(async () => {
        const select = `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE ${opening}`;
        return (await query(server, select)).length > 0;
      });
    };
    try {
      proxy.withholding = true;
      const boot = new Boot();
      const booted = boot.open({ url: proxy.url });
      await endNext();
      await until(() => proxy.traffic.connections === 2);
      proxy.withholding = false;
      await endNext();
      await (await booted).destroy();
      expect(boot.told[0]).toMatch(
        /^Waiting for the database .*: Client has encountered a connection error/,
      );
    } finally {
      await proxy.stop();
    }
  });
});

describe('a boot waits for what can pass', () => {
  it('a server that is read-only, as in a failover', async () => {
    // A pooler would keep a connection from before the change.
    const server = onServer(url);
    const name = new URL(url).pathname.slice(1);
    await query(server, `ALTER DATABASE ${name} SET default_transaction_read_only = on`);
    const boot = new Boot();
    const opening = boot.open({ url: server });
    await until(() => boot.told.length > 0);
    await query(
      server,
      `BEGIN READ WRITE; ALTER DATABASE ${name} SET default_transaction_read_only = off; COMMIT`,
    );
    await (await opening).destroy();
    expect(boot.told[0]).toMatch(
      /^Waiting for the database .*: cannot execute CREATE TABLE in a read-only transaction\.$/,
    );
  });

  it('a server without a free connection', async () => {
    const role = `few_${Date.now()}`;
    await query(url, `CREATE ROLE ${role} LOGIN PASSWORD 'secret' CONNECTION LIMIT 0`);
    await query(url, `GRANT ALL ON SCHEMA public TO ${role}`);
    const limited = new URL(url);
    limited.username = role;
    limited.password = 'secret';
    const boot = new Boot();
    const opening = boot.open({ url: limited.href });
    await until(() => boot.told.length > 0);
    await query(url, `ALTER ROLE ${role} CONNECTION LIMIT 10`);
    await (await opening).destroy();
    await query(url, `DROP OWNED BY ${role}; DROP ROLE ${role}`);
    expect(boot.told[0]).toMatch(/^Waiting for the database .*: too many connections for role/);
  });

  it('a migration that the server rolled back because of a deadlock', async () => {
    let runs = 0;
    const unlucky = migration('Unlucky1800000000000', async (runner) => {
      await runner.query('CREATE TABLE lucky (n int)');
      if (++runs > 1) return;
      await runner.query(`DO $$ BEGIN RAISE 'deadlock detected' USING ERRCODE = '40P01'; END $$`);
    });
    const told = await bootOnce({ url, migrations: [unlucky] });
    expect(told[0]).toMatch(/^Waiting for the database .*: deadlock detected\.$/);
    expect(runs).toBe(2);
    expect(await tables()).toContain('lucky');
  });

  it('but does not wait when the disk is full', async () => {
    const big = migration('Big1800000000000', (runner) =>
      runner.query(`DO $$ BEGIN RAISE 'No space left on device' USING ERRCODE = '53100'; END $$`),
    );
    const { error, told } = await failedBoot({ url, migrations: [big] });
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toMatch(/^Migrating: Big1800000000000 failed: No space left on device\./);
    expect(told).toEqual([]);
  });
});

describe('a boot reports at once, with the reason, what waiting cannot solve', () => {
  const cases: [string, (url: URL) => void, string][] = [
    ['a wrong password', (u) => (u.password = 'wrong'), 'password authentication failed for user'],
    ['an unknown user', (u) => (u.username = 'no_such_role'), 'password authentication failed'],
    ['a missing database', (u) => (u.pathname = 'no_such_db'), '"no_such_db" does not exist'],
  ];
  it.each(cases)('%s', async (_name, spoil, reason) => {
    // A pooler has messages of its own for a login that it refuses.
    const spoilt = new URL(onServer(url));
    spoil(spoilt);
    const { error, told } = await failedBoot({ url: spoilt.href });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(`Booting on ${spoilt.host}${spoilt.pathname} could not log in`);
    expect(error.message).toContain(reason);
    expect(error.message).not.toContain(spoilt.password);
    expect(told).toEqual([]);
  });

  it('TLS, where the server does not support it', async () => {
    const plain = new URL(url);
    plain.search = '';
    const { error, told } = await failedBoot({ url: plain.href, ssl: true });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain('asked for TLS, but the database server does not support it');
    expect(told).toEqual([]);
  });
});
