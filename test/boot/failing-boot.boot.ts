import { execFile } from 'node:child_process';
import { stripVTControlCharacters } from 'node:util';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(() => database.drop());

/** Boots a service in a process, and returns its exit code and its output. */
function boot(url: string, ...args: string[]): Promise<{ code: unknown; output: string }> {
  return new Promise((resolve) => {
    const file = ['--import', './test/support/typescript.mjs', 'test/boot/failing.process.ts'];
    const env = { ...process.env, DATABASE_URL: url, NO_COLOR: '1' };
    execFile(process.execPath, [...file, ...args], { env }, (error, out, err) =>
      resolve({ code: error?.code ?? 0, output: stripVTControlCharacters(out + err) }),
    );
  });
}

const times = (text: string, output: string): number => output.split(text).length - 1;

/** The URL of the server itself, because a pooler has its own messages for a refused login. */
const changed = (change: (url: URL) => void): string => {
  const url = new URL(onServer(database.url));
  change(url);
  return url.href;
};

describe('a boot that cannot succeed is reported once, with its reason', () => {
  it.each<[string, () => string, string[], string, string]>([
    [
      'a wrong password',
      () => changed((url) => (url.password = 'wrong')),
      [],
      'could not log in to the database: password authentication failed',
      "Correct the user, the password or the database's name.",
    ],
    [
      'a missing database',
      () => changed((url) => (url.pathname = '/no_such_database')),
      [],
      'could not log in to the database: database "no_such_database" does not exist',
      "Correct the user, the password or the database's name.",
    ],
    [
      'a migration that fails',
      () => database.url,
      ['broken'],
      'Migrating: Broken1800000000000 failed: relation "nowhere" does not exist.',
      'It was rolled back; those before it are applied. Correct the migration, and start again.',
    ],
  ])('%s', async (_, url, args, reason, remedy) => {
    const { code, output } = await boot(url(), ...args);
    expect(code).toBe(1);
    expect(times(reason, output)).toBe(1);
    expect(times(remedy, output)).toBe(1);
    // Plain Nest and TypeORM print these messages in these cases.
    expect(output).not.toContain('Unable to connect');
    expect(output).not.toContain('Retrying');
    expect(output).not.toContain('Waiting for');
  });
});

it('a boot whose wait ends without success has logged what it waits for, and names it again at the end', async () => {
  const { code, output } = await boot(changed((url) => (url.port = '1')));
  expect(code).toBe(1);
  expect(output).toMatch(
    /WARN \[FrameForgeDatabaseModule\] Waiting for the database 127\.0\.0\.1:1\/\w+: connect ECONNREFUSED 127\.0\.0\.1:1\./,
  );
  expect(times('Waiting for the database', output)).toBe(1);
  expect(times('could not reach the database: connect ECONNREFUSED 127.0.0.1:1.', output)).toBe(1);
  expect(output).not.toContain('Unable to connect');
});

it('a boot that succeeds says what it migrated', async () => {
  const { code, output } = await boot(database.url);
  expect(code).toBe(0);
  expect(output).toMatch(
    /LOG \[FrameForgeDatabaseModule\] Migrated: CreateUsersTable1700000001000, /,
  );
  expect(output).not.toContain('ERROR');
  expect(output).not.toContain('WARN');
});
