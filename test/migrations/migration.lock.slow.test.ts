import { Client } from 'pg';
import { DataSource } from 'typeorm';
import { migrationLockKey } from '../../src/migrations/migration.lock.js';
import { MigrationError } from '../../src/errors.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';
import { until } from '../support/until.js';
import { Boot, bootOnce, failedBoot, migration } from '../connection/boot.js';

let database: TestDatabase;
let url: string;
beforeEach(async () => {
  database = await createDatabase();
  url = database.url;
});
afterEach(() => database.drop());

const [OUTER, INNER] = ['', ':transaction'].map((part) =>
  migrationLockKey(new DataSource({ type: 'postgres' }), part),
);

/** A connection that is not the boot's own. */
async function other(): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: 'the other one' });
  client.on('error', () => {});
  await client.connect();
  return client;
}

const countOf = async (table: string): Promise<unknown> =>
  (await query(url, `SELECT count(*)::int AS n FROM ${table}`))[0]?.['n'];

describe('a lock that another process holds', () => {
  it('fails the boot after the timeout, naming the holder', async () => {
    const holder = await other();
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${OUTER})`);
    const [{ pid } = {}] = (await holder.query('SELECT pg_backend_pid() AS pid')).rows as {
      pid?: number;
    }[];
    try {
      const { error, told } = await failedBoot({ url, migrationsLockTimeoutMs: 1_000 });
      const named =
        `backend pid ${pid}, application_name 'the other one', since ` +
        String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
      expect(error).toBeInstanceOf(MigrationError);
      expect(error.message).toMatch(
        new RegExp(
          `^Another process holds the migration lock, and has not released it within 1000 ms: ${named}\\. ` +
            `Wait until its migration is done\\. If it hangs, end it: `,
        ),
      );
      expect(told).toHaveLength(1);
      expect(told[0]).toMatch(
        new RegExp(`^Waiting for another replica that is migrating the database: ${named}\\.$`),
      );
    } finally {
      await holder.end();
    }
  });

  it('is waited for, and taken when it is free', async () => {
    const holder = await other();
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${OUTER})`);
    const boot = new Boot();
    const opening = boot.open({ url });
    await until(() => boot.told.length > 0);
    await holder.query('ROLLBACK');
    await (await opening).destroy();
    await holder.end();
    expect(boot.told[1]).toContain('Migrated');
  });

  it('is not needed any more when its holder has run all migrations', async () => {
    await bootOnce({ url });
    const name = 'AddQueueColumns1700000004000';
    await query(url, `UPDATE migrations SET name = 'x' || name WHERE name = '${name}'`);
    const holder = await other();
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${OUTER})`);
    const boot = new Boot();
    const opening = boot.open({ url });
    await until(() => boot.told.some((line) => line.includes('Waiting for another replica')));
    await query(url, `UPDATE migrations SET name = '${name}' WHERE name = 'x${name}'`);
    await (await opening).destroy();
    await holder.end();
  });

  it('differs for another schema or another table of migrations', async () => {
    const holder = await other();
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${OUTER})`);
    try {
      await bootOnce({ url, schema: 'elsewhere', migrationsLockTimeoutMs: 0 });
      await bootOnce({
        url,
        migrationsTableName: 'other',
        schema: 's',
        migrationsLockTimeoutMs: 0,
      });
    } finally {
      await holder.end();
    }
  });
});

describe('a migration that a killed replica left running', () => {
  const first = migration('First1500000000000', (runner) =>
    runner.query('CREATE TABLE first (n int)'),
  );
  const CREATE_TABLE =
    'CREATE TABLE migrations (id serial PRIMARY KEY, "timestamp" bigint NOT NULL, name varchar NOT NULL)';

  it('is waited for, and run again when it is rolled back', async () => {
    const leftover = await other();
    await leftover.query(`BEGIN; SELECT pg_advisory_xact_lock(${INNER})`);
    await leftover.query(`${CREATE_TABLE}; CREATE TABLE first (n int)`);
    const boot = new Boot();
    const opening = boot.open({ url, migrations: [first] });
    await until(() => boot.told.length > 0);
    await leftover.end();
    await (await opening).destroy();
    expect(boot.told[0]).toContain(`application_name 'the other one'`);
    expect(await countOf(`migrations WHERE name LIKE 'First%'`)).toBe(1);
  });

  it('is waited for, and not run again when it is committed', async () => {
    const leftover = await other();
    await leftover.query(`BEGIN; SELECT pg_advisory_xact_lock(${INNER})`);
    await leftover.query(`${CREATE_TABLE}; CREATE TABLE first (n int)`);
    await leftover.query(
      `INSERT INTO migrations ("timestamp", name) VALUES (1500000000000, 'First1500000000000')`,
    );
    const boot = new Boot();
    const opening = boot.open({ url, migrations: [first] });
    await until(() => boot.told.length > 0);
    await leftover.query('COMMIT');
    await leftover.end();
    await (await opening).destroy();
    expect(boot.told.at(-1)).toContain('Migrated: CreateUsersTable1700000001000');
    expect(await countOf(`migrations WHERE name LIKE 'First%'`)).toBe(1);
  });
});

/** Changes a setting for new sessions. It uses the server itself: a pooler would keep the session, which is older. */
const set = (setting: string): Promise<unknown> =>
  query(onServer(url), `ALTER DATABASE ${new URL(url).pathname.slice(1)} SET ${setting}`);

describe('settings of the server', () => {
  // The migrations of this package have run before. Only those of the tests meet the settings, which may be shorter than
  // what a busy machine needs.
  beforeEach(() => bootOnce({ url: onServer(url) }));

  const patient = migration('Patient1800000000000', async (runner) => {
    // The migration takes longer than these settings allow a session to be idle.
    for (let i = 0; i < 20; i++) await runner.query('SELECT pg_sleep(0.1)');
  });

  it('that end idle transactions do not release the lock', async () => {
    await set(`idle_in_transaction_session_timeout = '1s'`);
    expect(await bootOnce({ url, migrations: [patient] })).toHaveLength(1);
  });

  it('that end idle transactions end a migration that is idle, and the error says so', async () => {
    await set(`idle_in_transaction_session_timeout = '1s'`);
    const idle = migration('Idle1800000000000', async (runner) => {
      const client = (await runner.connect()) as NodeJS.EventEmitter;
      await new Promise((resolve) => client.once('end', resolve));
      await runner.query('SELECT 1');
    });
    const { error, told } = await failedBoot({ url, migrations: [idle] });
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toMatch(
      /^Migrating: Idle1800000000000 failed: terminating connection due to idle-in-transaction timeout\. It/,
    );
    expect(told).toEqual([]);
  });

  it('that end long transactions do not release the lock', async () => {
    const [row] = await query(
      onServer(url),
      `SELECT FROM pg_settings WHERE name = 'transaction_timeout'`,
    );
    // This setting exists since PostgreSQL 17.
    if (row === undefined) return;
    await set(`transaction_timeout = '500ms'`);
    const inSteps = migration(
      'InSteps1800000000000',
      async (runner) => {
        for (let i = 0; i < 10; i++) await runner.query('SELECT pg_sleep(0.1)');
      },
      { transaction: false },
    );
    expect(await bootOnce({ url, migrations: [inSteps] })).toHaveLength(1);
  });

  it('that make transactions serializable do not stop CREATE INDEX CONCURRENTLY', async () => {
    await set(`default_transaction_isolation = 'serializable'`);
    const concurrently = migration(
      'Concurrently1800000000000',
      (runner) => runner.query('CREATE INDEX CONCURRENTLY idx_host ON users ("updatedAt")'),
      { transaction: false },
    );
    expect(await bootOnce({ url, migrations: [concurrently] })).toHaveLength(1);
  });
});
