import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { DataSource } from 'typeorm';
import { run } from '../../src/cli/cli.commands.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { bootOnce } from '../connection/boot.js';
import { OwnServer } from '../support/own-server.js';
import { query } from '../support/query.js';
import { until } from '../support/until.js';

// How the migrations after the third affect users of a large table.

const ROWS = 400_000;

let server: OwnServer;
beforeAll(async () => {
  server = await OwnServer.start();
  await query(server.url, 'CREATE DATABASE full_one');
  const url = databaseOf('full_one');
  const migrations = frameForgeMigrations.slice(0, 3);
  const dataSource = await new DataSource({ type: 'postgres', url, migrations }).initialize();
  await dataSource.runMigrations({ transaction: 'each' });
  await dataSource.query(`
    INSERT INTO users (username, email, "passwordHash")
      SELECT i, i || '@b.c', 'x' FROM generate_series(1, 100) i;
    INSERT INTO video_jobs ("userId", filename, "videoUrl", status)
      SELECT "userId", 'f' || i, 's3://b/' || i, CASE WHEN i % 10 = 0 THEN 'pending' ELSE 'completed' END
      FROM generate_series(1, ${ROWS / 100}) i, users;
    INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "deliveryStatus")
      SELECT "jobId", 'success', 'a@b.c', 'sent' FROM video_jobs WHERE status = 'completed';`);
  await dataSource.query('VACUUM ANALYZE');
  await dataSource.destroy();
}, 300_000);
afterAll(() => server.remove());

function databaseOf(name: string): string {
  const url = new URL(server.url);
  url.pathname = name;
  return url.href;
}

async function copy(name: string): Promise<string> {
  await query(server.url, `CREATE DATABASE ${name} TEMPLATE full_one`);
  return databaseOf(name);
}

/**
 * Runs a statement again and again, and looks meanwhile how often it waits for a lock. It counts looks and measures no
 * time, because on a busy machine a statement may take long that waits for nobody.
 */
class Probe {
  count = 0;
  private looks = 0;
  private longestWait = 0;
  private ending = false;
  private readonly ended: Promise<unknown>;

  constructor(url: string, sql: string) {
    this.ended = this.begin(url, sql);
  }

  /** Ends the runs. @returns the longest wait for a lock, as a share of the whole time */
  async end(): Promise<number> {
    this.ending = true;
    await this.ended;
    expect(this.looks).toBeGreaterThan(50);
    return this.longestWait / this.looks;
  }

  private async begin(url: string, sql: string): Promise<void> {
    const [runner, watcher] = [1, 2].map(() => new Client({ connectionString: url })) as [
      Client,
      Client,
    ];
    await Promise.all([runner.connect(), watcher.connect()]);
    await runner.query(`SET statement_timeout = 0; SET lock_timeout = 0`);
    const { rows } = await runner.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    await Promise.all([this.run(runner, sql), this.watch(watcher, rows[0]!.pid)]);
    await Promise.all([runner.end(), watcher.end()]);
  }

  private async run(runner: Client, sql: string): Promise<void> {
    while (!this.ending) {
      await runner.query(sql);
      this.count += 1;
    }
  }

  private async watch(watcher: Client, pid: number): Promise<void> {
    for (let wait = 0; !this.ending; this.looks += 1) {
      const waits = `SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'`;
      const { rowCount } = await watcher.query(waits, [pid]);
      wait = rowCount === 0 ? 0 : wait + 1;
      this.longestWait = Math.max(this.longestWait, wait);
      await sleep(5);
    }
  }
}

const READ = `SELECT filename FROM video_jobs JOIN users USING ("userId") WHERE username = '7' LIMIT 5`;
const READ_LOG = `SELECT count(*) FROM notification_log WHERE "deliveryStatus" = 'pending'`;
const WRITE = `
  INSERT INTO video_jobs ("userId", filename, "videoUrl")
  SELECT "userId", 'new', 's3://b/new' FROM users WHERE username = '7'`;

async function migrateOnline(url: string): Promise<number> {
  const { DATABASE_URL } = process.env;
  process.env['DATABASE_URL'] = url;
  try {
    return await run(['migrate', '--online'], { out: () => {}, err: () => {} });
  } finally {
    if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = DATABASE_URL;
  }
}

it('a boot that migrates delays no read for long, and ignores the time limits that are set for everyday statements', async () => {
  const url = await copy('by_boot');
  await query(url, `ALTER DATABASE by_boot SET statement_timeout = '200ms'`);
  await query(url, `ALTER DATABASE by_boot SET lock_timeout = '100ms'`);
  const probes = [new Probe(url, READ), new Probe(url, READ_LOG)];
  await bootOnce({ url });
  for (const probe of probes) {
    expect(probe.count).toBeGreaterThan(5);
    expect(await probe.end()).toBeLessThan(1 / 6);
  }
}, 300_000);

it('migrate --online delays no write for long', async () => {
  const url = await copy('online');
  const probes = [new Probe(url, READ), new Probe(url, READ_LOG), new Probe(url, WRITE)];
  expect(await migrateOnline(url)).toBe(0);
  for (const probe of probes) expect(await probe.end()).toBeLessThan(1 / 6);
}, 300_000);

it.each([
  ['one open report', 'boot', 'SELECT count(*) FROM video_jobs'],
  ['one open report', 'online', 'SELECT count(*) FROM video_jobs'],
  ['a vacuum', 'boot', 'LOCK TABLE video_jobs IN SHARE UPDATE EXCLUSIVE MODE'],
])(
  'while the migration waits for %s, reads go on, and the migration succeeds after it: %s',
  async (who, way, hold) => {
    const url = await copy(`${who.split(' ').at(-1)}_${way}`);
    const report = new Client({ connectionString: url });
    await report.connect();
    await report.query(`BEGIN; ${hold}`);
    const probe = new Probe(url, READ);
    const migrating = way === 'boot' ? bootOnce({ url }) : migrateOnline(url);
    const waiting = async (): Promise<boolean> =>
      (await query(url, `SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted`))
        .length > 0;
    // The migration asks for its lock three times. After each try, the reads that waited behind it go on.
    for (let tries = 0; tries < 3; tries += 1) {
      await until(waiting);
      const { count } = probe;
      await until(() => probe.count > count + 20);
    }
    await report.query('COMMIT');
    await report.end();
    expect(await migrating).toEqual(
      way === 'boot' ? [expect.stringContaining('AddQueueIndexes1700000006000')] : 0,
    );
    await probe.end();
  },
  300_000,
);

it('in a deadlock with the migration, the service goes on, and the migration is tried again', async () => {
  const url = await copy('deadlock');
  // The migration looks for a deadlock once, after this time. It waits for 2 s in all. By then the service must wait, too.
  await query(url, `ALTER DATABASE deadlock SET deadlock_timeout = '1500ms'`);
  const service = new Client({ connectionString: url });
  await service.connect();
  // The session with the shorter timeout gives up.
  await service.query(`SET deadlock_timeout = '1min'; BEGIN`);
  await service.query('LOCK TABLE notification_log IN ROW EXCLUSIVE MODE');
  const migrating = bootOnce({ url });
  // The migration has locked the jobs, and waits for the log.
  await until(
    async () =>
      (
        await query(
          url,
          `SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted
           AND relation = 'notification_log'::regclass`,
        )
      ).length > 0,
  );
  const { rowCount } = await service.query(
    `UPDATE video_jobs SET filename = 'x' WHERE status = 'pending'`,
  );
  expect(rowCount).toBe(ROWS / 10);
  await service.query('COMMIT');
  await service.end();
  expect(await migrating).toEqual([expect.stringContaining('AddQueueIndexes1700000006000')]);
  expect(await query(url, `SELECT FROM video_jobs WHERE filename = 'x'`)).toHaveLength(ROWS / 10);
  await until(async () => {
    const sql = `SELECT FROM pg_stat_database WHERE datname = 'deadlock' AND deadlocks > 0`;
    return (await query(url, sql)).length > 0;
  });
}, 300_000);
