import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';
import { bootOnce, migration } from './boot.js';

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
      // What is running when the lock goes comes to nothing, even if the server goes on with it.
      await runner.query('SELECT pg_sleep(2)');
    });
    const told = await bootOnce({ url, migrations: [slow] });
    expect(runs).toBe(2);
    expect(told[0]).toMatch(/^Waiting for the database .*: \w+/);
    expect(told.at(-1)).toContain('Migrated: Slow1800000000000');
    expect(await countOf(`migrations WHERE name LIKE 'Slow%'`)).toBe(1);
  });
});
