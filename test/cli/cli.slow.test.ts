import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { run } from '../../src/cli/cli.commands.js';
import { migrationLockKey } from '../../src/migrations/migration.lock.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';
import { Client } from 'pg';

let database: TestDatabase;
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(() => database.drop());

interface Result {
  code: number;
  out: string;
  err: string;
}

/** Runs a command in this process. */
async function cli(...args: string[]): Promise<Result> {
  const written = { out: '', err: '' };
  const { DATABASE_URL } = process.env;
  process.env['DATABASE_URL'] = database.url;
  try {
    const code = await run(args, {
      out: (line) => void (written.out += `${line}\n`),
      err: (line) => void (written.err += `${line}\n`),
    });
    return { code, ...written };
  } finally {
    if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = DATABASE_URL;
  }
}

/** Runs it as its users do: in a process, which has to end by itself. */
function cliProcess(url: string, ...args: string[]): Promise<Result> {
  return new Promise((resolve) => {
    const command = ['--import', './test/support/typescript.mjs', 'src/cli/main.ts', ...args];
    const env = { ...process.env, DATABASE_URL: url };
    execFile(process.execPath, command, { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err }),
    );
  });
}

const tables = async (): Promise<unknown[]> =>
  (await query(database.url, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`)).map(
    ({ tablename }) => tablename,
  );

const applied = (name: string): string => `[x] ${name}`;
const pending = (name: string): string => `[ ] ${name}`;
const FIRST = 'CreateUsersTable1700000001000';

describe('frameforge-db', () => {
  it('migrates, says what it did, and does nothing a second time', async () => {
    const first = await cli('migrate');
    expect(first).toMatchObject({ code: 0, err: '' });
    expect(first.out).toContain(`Migrated: ${FIRST}, `);
    expect(await tables()).toContain('video_jobs');
    expect(await cli('migrate')).toEqual({
      code: 0,
      out: 'Nothing to do: all migrations of this release are applied.\n',
      err: '',
    });
  });

  it('shows the status, and creates nothing', async () => {
    const before = await cli('status');
    expect(before.code).toBe(0);
    expect(before.out.split('\n')[0]).toBe(pending(FIRST));
    expect(await tables()).toEqual([]);
    await cli('migrate');
    await query(
      database.url,
      `INSERT INTO migrations ("timestamp", name) VALUES (1700000999000, 'Newer1700000999000')`,
    );
    const { out } = await cli('status');
    expect(out.split('\n')[0]).toBe(applied(FIRST));
    expect(out).toContain('[?] Newer1700000999000');
    expect(out).not.toContain('[ ]');
  });

  it('reverts the newest migration, down to none', async () => {
    await cli('migrate');
    const { out } = await cli('status');
    const names = out
      .trim()
      .split('\n')
      .map((line) => line.slice(4));
    for (const name of names.toReversed()) {
      expect(await cli('revert')).toEqual({ code: 0, out: `Reverted: ${name}.\n`, err: '' });
    }
    expect(await tables()).toEqual(['migrations']);
    expect((await cli('revert')).out).toBe('Nothing to do: no migration is applied.\n');
  });

  it('does not revert a migration that it does not know', async () => {
    await cli('migrate');
    await query(
      database.url,
      `INSERT INTO migrations ("timestamp", name) VALUES (1700000999000, 'Newer1700000999000')`,
    );
    expect(await cli('revert')).toEqual({
      code: 1,
      out: '',
      err:
        'frameforge-db: This release does not know the newest migration, Newer1700000999000. ' +
        'Revert it with the release that has it.\n',
    });
  });

  it('waits for the lock, and gives up with the name of its holder', async () => {
    const holder = new Client({ connectionString: database.url, application_name: 'deploy 41' });
    await holder.connect();
    const key = migrationLockKey(new DataSource({ type: 'postgres' }));
    await holder.query(`BEGIN; SELECT pg_advisory_xact_lock(${key})`);
    try {
      for (const command of ['migrate', 'revert']) {
        // Only a try that ends before the timeout says that it waits.
        const { code, out, err } = await cli(command, '--lock-timeout', '1000');
        expect({ command, code }).toEqual({ command, code: 1 });
        expect(out).toMatch(/^Waiting for another replica .*application_name 'deploy 41'/);
        expect(err).toMatch(/Another process holds the migration lock.*'deploy 41', since 20/);
      }
      expect(await tables()).toEqual([]);
    } finally {
      await holder.end();
    }
  });
});

describe('frameforge-db check', () => {
  it('finds nothing after the migrations', async () => {
    await cli('migrate');
    expect(await cli('check')).toEqual({
      code: 0,
      out: 'The schema agrees with the entities, and no migration is pending.\n',
      err: '',
    });
  });

  it('finds nothing in a restored database, where PostgreSQL writes the same expressions in its own way', async () => {
    await cli('migrate');
    const checks = await query(
      database.url,
      `SELECT format('ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s', conrelid::regclass,
         conname, conname, pg_get_constraintdef(oid)) AS "again"
       FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace`,
    );
    const indexes = await query(
      database.url,
      `SELECT format('DROP INDEX %s; %s', indexrelid::regclass, pg_get_indexdef(indexrelid)) AS "again"
       FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
       WHERE relname LIKE 'idx%' AND relnamespace = 'public'::regnamespace`,
    );
    expect(checks.length).toBeGreaterThan(5);
    for (const { again } of [...checks, ...indexes]) await query(database.url, String(again));
    expect(await cli('check')).toMatchObject({ code: 0 });
  });

  it('finds migrations that are pending', async () => {
    const { code, out } = await cli('check');
    expect(code).toBe(1);
    expect(out).toContain(`Pending migrations: ${FIRST}, `);
  });

  it.each([
    [
      'a column that is missing',
      'ALTER TABLE users DROP COLUMN "updatedAt"',
      [
        'column "users"."updatedAt" is missing: it should be TIMESTAMP(3) WITH TIME ZONE NOT NULL DEFAULT now()',
      ],
    ],
    [
      'an extra column',
      'ALTER TABLE users ADD COLUMN "phone" text',
      ['column "users"."phone" exists, but no entity defines it: text [!]'],
    ],
    [
      'a changed type, and not the other things that TypeORM would create again',
      'ALTER TABLE users ALTER "createdAt" TYPE timestamp, ALTER username TYPE varchar(60)',
      [
        'column "users"."username" should be character varying(50) NOT NULL, but is character varying(60) NOT NULL [!]',
        'column "users"."createdAt" should be TIMESTAMP(3) WITH TIME ZONE NOT NULL DEFAULT now(), but is TIMESTAMP(6) NOT NULL DEFAULT now() [!]',
      ],
    ],
    [
      'null and a default',
      'ALTER TABLE video_jobs ALTER filename DROP NOT NULL, ALTER attempts SET DEFAULT 1',
      [
        'null in column "video_jobs"."filename" should be refused, but is allowed',
        `default of column "video_jobs"."attempts" should be '0', but is '1'`,
      ],
    ],
    [
      'an index that is missing',
      'DROP INDEX idx_jobs_pending',
      [
        `index "idx_jobs_pending" of "video_jobs" is missing: it should be ("availableAt") WHERE ((status)::text = 'pending'::text) IS TRUE`,
      ],
    ],
    [
      'the predicate of an index',
      `DROP INDEX idx_notifications_claimable;
       CREATE INDEX idx_notifications_claimable ON notification_log ("availableAt")
         WHERE "deliveryStatus" = 'sent'`,
      [
        `index "idx_notifications_claimable" of "notification_log" should be WHERE ((("deliveryStatus")::text = 'pending'::text) IS TRUE), but is WHERE (("deliveryStatus")::text = 'sent'::text)`,
      ],
    ],
    [
      'an index that is not partial any more',
      `DROP INDEX idx_notifications_claimable;
       CREATE INDEX idx_notifications_claimable ON notification_log ("availableAt")`,
      [
        `index "idx_notifications_claimable" of "notification_log" should be WHERE ((("deliveryStatus")::text = 'pending'::text) IS TRUE), but is not partial`,
      ],
    ],
    [
      'a check constraint',
      `ALTER TABLE users ADD COLUMN x int; ALTER TABLE users DROP COLUMN x;
       ALTER TABLE video_jobs DROP CONSTRAINT chk_jobs_progress,
         ADD CONSTRAINT chk_jobs_progress CHECK (progress < 7)`,
      [
        'constraint "chk_jobs_progress" of "video_jobs" should be CHECK (((progress >= 0) AND (progress <= 100))), but is CHECK ((progress < 7))',
      ],
    ],
    [
      'a table, a foreign key and a unique constraint',
      `DROP TABLE processing_state, job_attempt_errors; ALTER TABLE video_jobs DROP CONSTRAINT fk_video_jobs_user;
       ALTER TABLE users ADD CONSTRAINT "mine" UNIQUE ("email", "username")`,
      [
        'constraint "mine" of "users" exists, but no entity defines it: UNIQUE ("username", "email")',
        'table "processing_state" is missing',
        'table "job_attempt_errors" is missing',
        'constraint "fk_video_jobs_user" of "video_jobs" is missing: it should be FOREIGN KEY ("userId") REFERENCES "users"("userId") ON DELETE CASCADE ON UPDATE NO ACTION',
      ],
    ],
  ])('finds what differs, and offers no statement: %s', async (_, change, expected) => {
    await cli('migrate');
    await query(database.url, change);
    const before = await tables();
    const { code, out } = await cli('check');
    expect(code).toBe(1);
    expect(out).not.toMatch(/DROP|ALTER TABLE/);
    const [first, ...lines] = out.trim().split('\n');
    expect(first).toBe('The schema differs from the entities:');
    const marked = expected.some((line) => String(line).endsWith('[!]'));
    // For a column of the first three migrations, `check` also prints what a boot would say.
    const boot = lines.findIndex((line) => line.startsWith('The tables of the database differ'));
    if (boot !== -1) lines.splice(boot, 1);
    expect(lines.splice(expected.length)).toEqual(
      marked
        ? [
            expect.stringMatching(
              /^\[!\] marks tables and columns that hold data\. Do not drop them/,
            ),
          ]
        : [],
    );
    expect(lines).toHaveLength(expected.length);
    expect(lines.map((line) => line.slice(2))).toEqual(expect.arrayContaining(expected));
    expect(await tables()).toEqual(before);
  });
});

describe('frameforge-db --data-source', () => {
  it('works on the data source of the application, and lets TypeORM do nothing by itself', async () => {
    const file = ['-d', 'test/cli/host.data-source.mjs'];
    expect((await cli('status', ...file)).out).toBe('[ ] CreateHostTable1800000000000\n');
    expect(await tables()).toEqual([]);
    expect((await cli('migrate', ...file)).out).toBe('Migrated: CreateHostTable1800000000000.\n');
    expect((await cli('revert', ...file)).out).toBe('Reverted: CreateHostTable1800000000000.\n');
    expect(await tables()).toEqual(['migrations']);
  });

  it('says what to do about TypeScript', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'frameforge-cli-'));
    // No version of Node can run an enum of TypeScript by itself.
    const file = join(directory, 'source.cts');
    writeFileSync(file, 'export enum Kind { A }\n');
    try {
      const command = ['dist-less', 'status', '-d', file];
      const { code, err } = await cliProcess(database.url, ...command.slice(1));
      expect({ code, err }).toEqual({
        code: 1,
        err:
          `frameforge-db: Cannot load the data source of ${file}: this Node cannot read its TypeScript. ` +
          `Name the compiled file (-d dist/...), or start Node with a loader, such as NODE_OPTIONS='--import tsx'.\n`,
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('says what is wrong with the file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'frameforge-cli-'));
    const file = join(directory, 'nothing.mjs');
    writeFileSync(file, 'export const answer = 42;');
    const missing = join(directory, 'missing.mjs');
    try {
      expect(await cli('status', '-d', file)).toEqual({
        code: 1,
        out: '',
        err: `frameforge-db: ${file} exports no DataSource: export one, such as export default new DataSource({ ... }).\n`,
      });
      const { code, err } = await cli('status', '-d', missing);
      expect(code).toBe(1);
      expect(err).toContain(
        `frameforge-db: Cannot load the data source of ${missing}: Cannot find`,
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('a command line that is wrong', () => {
  it.each([
    [['migrat'], "there is no command 'migrat'"],
    [[], 'give one of these commands: migrate, revert, status, check'],
    [['status', 'now'], "'now' is not needed"],
    [['migrate', '--lock-timeout', 'soon'], "--lock-timeout is 'soon': give whole milliseconds"],
    [['migrate', '--force'], "Unknown option '--force'"],
  ])('%j ends with exit code 2, the reason and the usage', async (args, reason) => {
    const { code, out, err } = await cli(...args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(`frameforge-db: ${reason}`);
    expect(err).toContain('Usage: frameforge-db <command>');
  });

  it('is not --help', async () => {
    const { code, out, err } = await cli('--help');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('Usage: frameforge-db <command>');
  });
});

describe('the process', () => {
  it('ends by itself, with exit code 0', async () => {
    const { code, out, err } = await cliProcess(database.url, 'migrate');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain(`Migrated: ${FIRST}, `);
  });

  it('prints why the database refuses the connection, and exits with 1', async () => {
    const url = new URL(onServer(database.url));
    url.password = 'wrong';
    const { code, out, err } = await cliProcess(url.href, 'status');
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/^frameforge-db: .*password authentication failed.*\n$/);
  });

  it('exits with 2 when the command line is wrong', async () => {
    expect(await cliProcess(database.url, 'migrat')).toMatchObject({ code: 2, out: '' });
  });
});
