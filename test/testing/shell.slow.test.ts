import { Client } from 'pg';
import { DataSource } from 'typeorm';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { createTestDatabase, createTestingApp, videoJobFixture } from '../../src/testing/index.js';
import { query } from '../support/query.js';

/** Variables that a user may have in the shell, for `psql` and another server. */
const SHELL = {
  PGSSLMODE: 'require',
  PGHOST: 'db.invalid',
  PGPORT: '1',
  PGUSER: 'somebody',
  PGPASSWORD: 'secret',
  PGDATABASE: 'elsewhere',
  PGAPPNAME: 'psql',
  PGDATESTYLE: 'German',
  PGCLIENTENCODING: 'LATIN1',
  PGDATA: '/nowhere',
  PGTZ: 'Asia/Tokyo',
};

let before: NodeJS.ProcessEnv;
beforeAll(() => {
  before = { ...process.env };
  Object.assign(process.env, SHELL);
});
afterAll(() => {
  for (const name of Object.keys(SHELL)) {
    delete process.env[name];
    if (before[name] !== undefined) process.env[name] = before[name];
  }
});

it('does not change the embedded server, which every client can use by its URL', async () => {
  const server = await startEmbeddedPostgres();
  try {
    const shown = `SELECT current_setting('datestyle') AS style, inet_server_port() AS port`;
    const expected = [{ style: 'ISO, MDY', port: Number(new URL(server.url).port) }];
    expect(await query(server.url, shown)).toEqual(expected);
    const dataSource = new DataSource({ type: 'postgres', url: server.url });
    await dataSource.initialize();
    expect(await dataSource.query(shown)).toEqual(expected);
    await dataSource.destroy();
  } finally {
    await server.stop();
  }
});

it('does not change the test databases', async () => {
  await using database = await createTestDatabase();
  const dataSource = await database.dataSource();
  const job = await videoJobFixture({ status: 'completed' }).persist(dataSource);
  expect(job.completedAt).toBeInstanceOf(Date);
  const client = new Client({ connectionString: database.url });
  await client.connect();
  expect((await client.query('SELECT "jobId" FROM video_jobs')).rows).toEqual([
    { jobId: job.jobId },
  ]);
  await client.end();
  await using app = await createTestingApp();
  expect(await app.get(DataSource).query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

it('does not change how the test databases are made, also not by PGOPTIONS', async () => {
  const { TEST_DATABASE_URL, TEST_ADMIN_URL } = process.env;
  process.env['PGOPTIONS'] = '-c default_transaction_read_only=on';
  try {
    if (TEST_ADMIN_URL !== undefined) {
      // A pooler does not accept such options.
      const refused = query(String(TEST_DATABASE_URL), 'SELECT 1');
      await expect(refused).rejects.toThrow('unsupported startup parameter: options');
      return;
    }
    // No earlier test has used this schema, so the template is made now, under PGOPTIONS.
    await using database = await createTestDatabase({ schema: 'other' });
    await videoJobFixture().persist(await database.dataSource());
  } finally {
    delete process.env['PGOPTIONS'];
  }
});
