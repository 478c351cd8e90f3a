import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';
import { until } from '../support/until.js';

let database: TestDatabase;
let service: ChildProcess;
beforeEach(async () => {
  database = await createDatabase();
  await query(database.url, 'CREATE TABLE finished (what text)');
});
afterEach(async () => {
  service.kill('SIGKILL');
  await database.drop();
});

it.each(['forRoot', 'forFeature'])(
  'a service that gets SIGTERM finishes what it has begun, and ends: %s',
  async (kind) => {
    service = fork('test/boot/service.process.ts', [kind], {
      execArgv: ['--import', './test/support/typescript.mjs'],
      env: { ...process.env, DATABASE_URL: database.url },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const exited = once(service, 'exit');
    const [{ listening }] = (await once(service, 'message')) as [{ listening: string }];
    const unexpected: unknown[] = [];
    service.on('message', (message) => unexpected.push(message));
    // A kept-alive connection would delay the shutdown after all requests have ended.
    const response = fetch(`${listening}/work`, { headers: { connection: 'close' } });
    await until(async () => {
      const rows = await query(
        database.url,
        `SELECT FROM pg_stat_activity WHERE datname = current_database()
           AND state = 'active' AND query LIKE '%pg\\_sleep(3%' AND pid <> pg_backend_pid()`,
      );
      return rows.length === 2;
    });
    service.kill('SIGTERM');
    expect(await (await response).text()).toBe('done');
    // Nest ends the process by the signal that it got, when all is closed.
    expect(await exited).toEqual([null, 'SIGTERM']);
    expect(await query(database.url, 'SELECT what FROM finished ORDER BY what')).toEqual([
      { what: 'background' },
      { what: 'request' },
    ]);
    expect(unexpected).toEqual([]);
  },
);
