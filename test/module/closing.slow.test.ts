import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createDatabase, otherDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

/** The process ends only if no timer and no socket is left. */
const run = async (url: string): Promise<string> => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', './test/support/typescript.mjs', 'test/module/closing.fixture.ts'],
    { env: { ...process.env, DATABASE_URL: url }, timeout: 50_000 },
  );
  return stdout.trim();
};

it('leaves nothing open when the application is closed', async () => {
  expect(await run(database.url)).toBe('closed');
});

it.each([
  ['options that are wrong', () => 'mysql://h', /is not a PostgreSQL URL/],
  [
    'a database that is not there',
    () => otherDatabase(database.url, 'not_there'),
    /database "\w+" does not exist/,
  ],
])('leaves nothing open when the boot fails: %s', async (_, url, message) => {
  expect(await run(url())).toMatch(message);
});
