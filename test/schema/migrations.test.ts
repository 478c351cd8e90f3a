import { DataSource } from 'typeorm';
import type { DataSourceOptions } from 'typeorm';
import { frameForgeEntities } from '../../src/schema/entities/index.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { createDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';
import { readCatalog } from './catalog.js';
import type { Catalog } from './catalog.js';
import { expectedCatalog } from './expected-catalog.js';

type Mode = DataSourceOptions['migrationsTransactionMode'];

let database: TestDatabase;
const opened: DataSource[] = [];
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((dataSource) => dataSource.destroy()));
  await database.drop();
});

/** A plain TypeORM data source, as a service without this package's module opens it. */
async function open(count = frameForgeMigrations.length, mode?: Mode): Promise<DataSource> {
  const dataSource = await new DataSource({
    type: 'postgres',
    url: database.url,
    entities: frameForgeEntities,
    migrations: frameForgeMigrations.slice(0, count),
    migrationsTransactionMode: mode,
    installExtensions: false,
  }).initialize();
  opened.push(dataSource);
  return dataSource;
}

const validated = (catalog: Catalog): Catalog => ({
  ...catalog,
  constraints: catalog.constraints.map((line) => line.replace(' NOT VALID', '')),
});

const MODES = [undefined, 'all', 'each', 'none'] as const;

it('creates exactly the schema of the design, migration by migration', async () => {
  for (let count = 1; count <= frameForgeMigrations.length; count += 1) {
    const dataSource = await open(count);
    expect(await dataSource.runMigrations()).toHaveLength(1);
    expect(await readCatalog(dataSource)).toEqual(expectedCatalog(count));
  }
});

it.each(MODES)('goes up, down and up again, with transaction mode %s', async (mode) => {
  const dataSource = await open(undefined, mode);
  const all = frameForgeMigrations.length;
  expect(await dataSource.runMigrations()).toHaveLength(all);
  const catalog = await readCatalog(dataSource);
  expect(catalog).toEqual(expectedCatalog());
  for (let count = all - 1; count >= 0; count -= 1) {
    await dataSource.undoLastMigration();
    // The test above has checked that each `down` restores the state before its `up`. Validated constraints stay
    // validated.
    expect(await readCatalog(dataSource)).toEqual(validated(expectedCatalog(count)));
    expect(await dataSource.query('SELECT name FROM migrations')).toHaveLength(count);
  }
  await dataSource.runMigrations();
  expect(await readCatalog(dataSource)).toEqual(catalog);
});

it('keeps the rows through AddQueueColumns and back, and rewrites no table', async () => {
  const before = await open(3);
  await before.runMigrations();
  await before.query(`
    WITH u AS (INSERT INTO users (username, email, "passwordHash") VALUES ('a', 'a@b.c', 'x') RETURNING *),
      j AS (INSERT INTO video_jobs ("userId", filename, "videoUrl", status)
        SELECT "userId", 'f', 's3://b/k', unnest(ARRAY['pending', 'processing', 'completed']) FROM u
        RETURNING *)
    INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail")
    SELECT "jobId", 'success', 'a@b.c' FROM j, generate_series(1, 2) WHERE status = 'completed'`);
  const rows = (): Promise<Record<string, unknown>[]> =>
    before.query(`SELECT * FROM video_jobs j LEFT JOIN notification_log n USING ("jobId")
      ORDER BY "jobId", "notificationId"`);
  const files = (): Promise<Record<string, unknown>[]> =>
    before.query(`SELECT relname, relfilenode FROM pg_class
      WHERE relname IN ('video_jobs', 'notification_log') ORDER BY relname`);
  const [firstRows, firstFiles] = [await rows(), await files()];

  const after = await open(4);
  await after.runMigrations();
  expect(await files()).toEqual(firstFiles);
  expect(
    await after.query(`SELECT status, "availableAt" <= now() AS due, "runNumber", "workerId", attempts
      FROM video_jobs ORDER BY status`),
  ).toEqual(
    ['completed', 'pending', 'processing'].map((status) => ({
      status,
      due: true,
      runNumber: 0,
      workerId: null,
      attempts: 0,
    })),
  );
  await after.undoLastMigration();
  expect(await rows()).toEqual(firstRows);
});

it('has the names that existing databases have recorded', () => {
  const names = [
    'CreateUsersTable1700000001000',
    'CreateVideoJobsTable1700000002000',
    'CreateNotificationLogTable1700000003000',
    'AddQueueColumns1700000004000',
    'CreateJobTables1700000005000',
    'AddQueueIndexes1700000006000',
  ];
  const migrations = frameForgeMigrations.map((Migration) => new Migration());
  // This is the property of the instance. A bundler may change the name of the class.
  expect(migrations.map((migration) => migration.name)).toEqual(names);
  expect(frameForgeMigrations.map((Migration) => Migration.name)).toEqual(names);
  // TypeORM's plain commands refuse a migration that sets this in their default mode.
  for (const migration of migrations) expect(migration).not.toHaveProperty('transaction');
});
