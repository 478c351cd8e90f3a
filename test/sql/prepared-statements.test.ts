import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';
import { Boot } from '../connection/boot.js';

const { DB_PREPARED_STATEMENTS } = process.env;
let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterEach(() => {
  if (DB_PREPARED_STATEMENTS === undefined) delete process.env['DB_PREPARED_STATEMENTS'];
  else process.env['DB_PREPARED_STATEMENTS'] = DB_PREPARED_STATEMENTS;
});
afterAll(() => database.drop());

// This connects to the server itself, because a pooler would show the statements of another connection.
it.each<[string | undefined, { preparedStatements?: boolean }, number]>([
  [undefined, {}, 2],
  ['true', {}, 2],
  ['false', {}, 0],
  ['false', { preparedStatements: true }, 2],
  [undefined, { preparedStatements: false }, 0],
])('DB_PREPARED_STATEMENTS=%s and %j keep %i plans', async (value, options, count) => {
  if (value === undefined) delete process.env['DB_PREPARED_STATEMENTS'];
  else process.env['DB_PREPARED_STATEMENTS'] = value;
  const dataSource = await new Boot().open({ url: onServer(database.url), poolSize: 1 });
  try {
    await new JobService(dataSource, options).countJobs();
    await new NotificationService(dataSource, options).listNotifications();
    const kept: unknown[] = await dataSource.query('SELECT name FROM pg_prepared_statements');
    expect(kept).toHaveLength(count);
  } finally {
    await dataSource.destroy();
  }
});
