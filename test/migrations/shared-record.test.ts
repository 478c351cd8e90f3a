import { run } from '../../src/cli/cli.commands.js';
import { MigrationError } from '../../src/errors.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { Boot, bootOnce, failedBoot, migration } from '../connection/boot.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';
import { revertMigration } from '../../src/migrations/migration.runner.js';

// Several services use one database. Each must accept that the others have recorded their own migrations there.

let database: TestDatabase;
let url: string;
beforeEach(async () => {
  database = await createDatabase();
  url = database.url;
});
afterEach(() => database.drop());

const OURS = frameForgeMigrations.map(({ name }) => name);
const createTable = (name: string, timestamp: number): ReturnType<typeof migration> =>
  migration(
    `Create${name}${timestamp}`,
    (runner) => runner.query(`CREATE TABLE ${name.toLowerCase()} (n int)`),
    { down: (runner) => runner.query(`DROP TABLE ${name.toLowerCase()}`) },
  );
const invoices = createTable('Invoices', 1800000000001);
const reports = createTable('Reports', 1800000000002);

const recorded = async (table = 'migrations'): Promise<unknown[]> =>
  (await query(url, `SELECT name FROM ${table} ORDER BY id`)).map(({ name }) => name);
const there = async (...tables: string[]): Promise<unknown[]> =>
  (
    await query(
      url,
      `SELECT tablename FROM pg_tables WHERE tablename = ANY('{${tables.join(',')}}') ORDER BY 1`,
    )
  ).map(({ tablename }) => tablename);

async function reverted(
  ...migrations: ReturnType<typeof migration>[]
): Promise<string | undefined> {
  const boot = new Boot();
  const dataSource = await boot.open({ url, migrations });
  try {
    return await revertMigration(dataSource, { timeoutMs: 1_000, onWait: () => {} });
  } finally {
    await dataSource.destroy();
  }
}

describe('two services with migrations of their own in one table', () => {
  beforeEach(async () => {
    await bootOnce({ url, migrations: [invoices] });
    await bootOnce({ url, migrations: [reports] });
  });

  it('are not taken for a newer release of each other', async () => {
    for (const own of [invoices, reports]) {
      expect(await bootOnce({ url, migrations: [own], requireCurrentSchema: true })).toEqual([]);
    }
    expect(await recorded()).toEqual([
      ...OURS,
      'CreateInvoices1800000000001',
      'CreateReports1800000000002',
    ]);
  });

  it('each revert their own newest migration, and name it', async () => {
    expect(await reverted(invoices)).toBe('CreateInvoices1800000000001');
    expect(await there('invoices', 'reports')).toEqual(['reports']);
    expect(await reverted(reports)).toBe('CreateReports1800000000002');
    expect(await there('invoices', 'reports')).toEqual([]);
    expect(await recorded()).toEqual(OURS);
  });

  it('recognize a newer release of this package', async () => {
    const newer = migration('AddMore1700000999000', async () => {});
    await bootOnce({ url, migrations: [newer, invoices] });
    const { error } = await failedBoot({ url, migrations: [reports], requireCurrentSchema: true });
    expect(error).toBeInstanceOf(MigrationError);
    expect(error.message).toBe(
      'The database has migrations that this release does not know: AddMore1700000999000. ' +
        'A newer release has migrated it; deploy that release, or turn off requireCurrentSchema.',
    );
    await expect(reverted()).rejects.toThrow(
      'This release does not know the newest migration, AddMore1700000999000',
    );
  });

  it('see the migrations of each other in the status, as those of another program', async () => {
    const { DATABASE_URL } = process.env;
    process.env['DATABASE_URL'] = url;
    const lines: string[] = [];
    try {
      const write = (line: string): void => void lines.push(line);
      expect(await run(['status'], { out: write, err: write })).toBe(0);
    } finally {
      if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
      else process.env['DATABASE_URL'] = DATABASE_URL;
    }
    expect(lines).toEqual([
      ...OURS.map((name) => `[x] ${name}`),
      '[-] CreateInvoices1800000000001',
      '[-] CreateReports1800000000002',
    ]);
  });
});

describe('a service that keeps its own migrations in a table of its own', () => {
  const own = { migrationsTableName: 'invoice_migrations', migrations: [invoices] };

  it('leaves the migrations of this package in the table where the others look for them', async () => {
    await bootOnce({ url, ...own });
    expect(await recorded()).toEqual(OURS);
    expect(await recorded('invoice_migrations')).toEqual(['CreateInvoices1800000000001']);
    expect(await bootOnce({ url, requireCurrentSchema: true })).toEqual([]);
    expect(await bootOnce({ url, ...own, requireCurrentSchema: true })).toEqual([]);
    const other = { migrationsTableName: 'report_migrations', migrations: [reports] };
    expect(await bootOnce({ url, ...other })).toEqual(['Migrated: CreateReports1800000000002.']);
  });

  it('finds that another service has run the migrations of this package', async () => {
    await bootOnce({ url });
    expect(await bootOnce({ url, ...own })).toEqual(['Migrated: CreateInvoices1800000000001.']);
  });

  it('boots together with others on an empty database', async () => {
    const others = { migrationsTableName: 'report_migrations', migrations: [reports] };
    const boots = [{}, own, others, {}, own, others].map((options) =>
      bootOnce({ url, poolSize: 2, ...options }),
    );
    await Promise.all(boots);
    expect(await recorded()).toEqual(OURS);
    expect(await there('invoices', 'reports')).toEqual(['invoices', 'reports']);
  });

  it('reverts its own migrations before those of this package, each from its table', async () => {
    const dataSource = await new Boot().open({ url, ...own });
    const lock = { timeoutMs: 1_000, onWait: () => {} };
    try {
      expect(await revertMigration(dataSource, lock)).toBe('CreateInvoices1800000000001');
      expect(await recorded('invoice_migrations')).toEqual([]);
      expect(await revertMigration(dataSource, lock)).toBe(OURS.at(-1));
      expect(await recorded()).toEqual(OURS.slice(0, -1));
    } finally {
      await dataSource.destroy();
    }
  });

  it('keeps using its own table if the migrations of this package are already recorded there', async () => {
    await bootOnce({ url });
    await query(
      url,
      `ALTER TABLE migrations RENAME TO invoice_migrations;
       DELETE FROM invoice_migrations WHERE name = '${OURS.at(-1)}';
       DROP INDEX idx_jobs_pending, idx_jobs_leased, idx_jobs_pending_user, idx_jobs_user_created_at,
         idx_notifications_claimable, uq_notifications_job_run`,
    );
    expect(await bootOnce({ url, ...own })).toEqual([
      `Migrated: ${OURS.at(-1)}, CreateInvoices1800000000001.`,
    ]);
    expect(await recorded('invoice_migrations')).toHaveLength(OURS.length + 1);
    expect(await there('migrations')).toEqual([]);
  });
});

it('replicas that name the default schema and replicas that do not use the same lock', async () => {
  const boots = Array.from({ length: 20 }, (_, index) =>
    bootOnce({ url, poolSize: 1, ...(index % 2 === 0 ? { schema: 'public' } : {}) }),
  );
  const told = (await Promise.all(boots)).flat();
  expect(told.filter((line) => line.startsWith('Migrated'))).toHaveLength(1);
  expect(await recorded()).toEqual(OURS);
});

it('an error says that a table `migrations` belongs to another tool, and the table stays unchanged', async () => {
  await query(url, 'CREATE TABLE migrations (id serial, migration varchar, batch int)');
  const { error } = await failedBoot({ url });
  expect(error).toBeInstanceOf(MigrationError);
  expect(error.message).toBe(
    'The table "migrations" was made by another tool, not by TypeORM. Give this ' +
      'package its own schema with the option `schema`. A schema that is missing is created.',
  );
  expect(await bootOnce({ url, schema: 'frameforge' })).toHaveLength(1);
  expect(await there('migrations')).toHaveLength(2);
});

it('a database whose schema TypeORM has dropped is migrated again', async () => {
  const dataSource = await new Boot().open({ url });
  await dataSource.dropDatabase();
  await dataSource.destroy();
  expect(await there('users')).toEqual([]);
  expect(await bootOnce({ url })).toEqual([`Migrated: ${OURS.join(', ')}.`]);
});
