import { Client } from 'pg';
import { query } from './query.js';
import { createDatabase, onServer } from './server.js';
import { until } from './until.js';

describe('createDatabase', () => {
  it('gives databases that do not see each other', async () => {
    const [a, b] = await Promise.all([createDatabase(), createDatabase()]);
    try {
      await query(a.url, 'CREATE TABLE only_in_a (n int)');
      expect(await query(b.url, `SELECT to_regclass('only_in_a') AS found`)).toEqual([
        { found: null },
      ]);
    } finally {
      await Promise.all([a.drop(), b.drop()]);
    }
  });

  it('drops a database that still has a connection', async () => {
    const database = await createDatabase();
    const client = new Client({ connectionString: onServer(database.url) });
    await client.connect();
    const errors: unknown[] = [];
    client.on('error', (error) => errors.push(error));
    await database.drop();
    await until(() => errors.length > 0);
    expect(errors[0]).toMatchObject({ code: '57P01' });
    await expect(query(onServer(database.url), 'SELECT 1')).rejects.toMatchObject({
      code: '3D000',
    });
  });
});
