import type { QueryRunner } from 'typeorm';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';
import { bootOnce, migration } from '../connection/boot.js';

let database: TestDatabase;
let url: string;
beforeEach(async () => {
  database = await createDatabase();
  url = database.url;
});
afterEach(() => database.drop());

const countOf = async (table: string): Promise<unknown> =>
  (await query(url, `SELECT count(*)::int AS n FROM ${table}`))[0]?.['n'];

describe('a replica that lost the lock while it was migrating', () => {
  it('commits nothing more, and starts over', async () => {
    let runs = 0;
    const slow = migration('Slow1800000000000', async (runner) => {
      runs++;
      await runner.query('CREATE TABLE slow (n int)');
      if (runs > 1) return;
      await query(
        url,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'frameforge migrating%'`,
      );
      // A migration that runs when the lock is lost is not committed, even if the server still executes it.
      await runner.query('SELECT pg_sleep(2)');
    });
    const told = await bootOnce({ url, migrations: [slow] });
    expect(runs).toBe(2);
    expect(told[0]).toMatch(/^Waiting for the database .*: \w+/);
    expect(told.at(-1)).toContain('Migrated: Slow1800000000000');
    expect(await countOf(`migrations WHERE name LIKE 'Slow%'`)).toBe(1);
  });
});

describe('a server that vanishes without closing its connections', () => {
  const HOLDER = `application_name LIKE 'frameforge migrating%'`;
  // This connects to the server itself, because a pooler would close the connection with a message of its own.
  let server: string;
  let proxy: Proxy;
  beforeEach(async () => {
    server = onServer(url);
    proxy = await Proxy.start(server);
  });
  afterEach(() => proxy.stop());

  /** Boots with a migration that does something at its first run. */
  const bootThrough = async (
    atFirst: (runner: QueryRunner) => Promise<unknown>,
  ): Promise<{ told: string[]; runs: number }> => {
    let runs = 0;
    const first = migration('First1800000000000', async (runner) => {
      await runner.query('CREATE TABLE first (n int)');
      if (++runs === 1) await atFirst(runner);
    });
    const told = await bootOnce({ url: proxy.url, migrations: [first] });
    expect(told.at(-1)).toContain('First1800000000000');
    return { told, runs };
  };

  it('on the connection that holds the lock: the boot goes on', async () => {
    const { runs } = await bootThrough(async () => {
      const [{ port } = {}] = await query(
        server,
        `SELECT client_port AS port FROM pg_stat_activity
         WHERE datname = current_database() AND ${HOLDER}`,
      );
      expect(port).toEqual(expect.any(Number));
      proxy.freeze(port as number);
    });
    expect(runs).toBe(1);
  });

  it('on the connection that migrates: the migration runs again', async () => {
    const { told, runs } = await bootThrough(async (runner) => {
      proxy.lingering = true;
      await runner.query('SELECT pg_terminate_backend(pg_backend_pid())');
    });
    expect(runs).toBe(2);
    expect(told[0]).toMatch(/^Waiting for the database .*: terminating connection due to admin/);
  });
});
