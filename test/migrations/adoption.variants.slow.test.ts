import { JobService } from '../../src/jobs/job.service.js';
import { Boot, failedBoot } from '../connection/boot.js';
import type { Catalog } from '../schema/catalog.js';
import { readCatalog } from '../schema/catalog.js';
import { expectedCatalog } from '../schema/expected-catalog.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';
import { everything, frameforgeDb, older, valuesIn } from './older.fixture.js';

// These are older databases besides those in older-databases/. Each is adopted with all of its rows and values, or
// refused with a list of the problems before anything is changed.

let database: TestDatabase;
let url: string;
beforeEach(async () => {
  database = await createDatabase();
  url = database.url;
});
afterEach(() => database.drop());

const cli = (...args: string[]) => frameforgeDb(url, ...args);

/** Removes what an adoption leaves for the operator. After it, the catalog must equal that of a fresh database. */
const REST = `
  DROP TABLE IF EXISTS users_before_adoption, video_jobs_before_adoption, notification_log_before_adoption, invoices;
  DROP VIEW IF EXISTS names; DROP FUNCTION IF EXISTS touch();
  DROP TYPE IF EXISTS job_status, kind, delivery, text_of_length`;

const VARCHAR_IDS = (type: string): string => `
  ALTER TABLE video_jobs DROP CONSTRAINT fk_video_jobs_user;
  ALTER TABLE notification_log DROP CONSTRAINT fk_notification_log_job;
  ALTER TABLE users ALTER user_id TYPE ${type} USING upper(user_id::text);
  ALTER TABLE video_jobs ALTER user_id TYPE ${type} USING upper(user_id::text), ALTER job_id TYPE ${type};
  ALTER TABLE notification_log ALTER job_id TYPE ${type}, ALTER notification_id TYPE ${type};
  ALTER TABLE video_jobs ADD CONSTRAINT fk_video_jobs_user FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
  ALTER TABLE notification_log ADD CONSTRAINT fk_notification_log_job FOREIGN KEY (job_id) REFERENCES video_jobs ON DELETE CASCADE`;

const ADOPTED: [name: string, kind: string, sql: string][] = [
  [
    'other names and another order of columns, and more of them, some with strange names',
    'snake-case',
    `ALTER TABLE users ADD COLUMN "select ""it""" text DEFAULT 'x', ADD COLUMN "Größe" integer DEFAULT 3;
     ALTER TABLE video_jobs RENAME status TO s; ALTER TABLE video_jobs ADD COLUMN status varchar(20);
     UPDATE video_jobs SET status = s; ALTER TABLE video_jobs DROP COLUMN s, ADD COLUMN priority integer;
     ALTER TABLE users RENAME email TO e; ALTER TABLE users ADD COLUMN email text;
     UPDATE users SET email = e; ALTER TABLE users ALTER email SET NOT NULL, DROP COLUMN e`,
  ],
  ['ids that are texts', 'snake-case', VARCHAR_IDS('varchar(36)')],
  ['ids that are texts of a length', 'snake-case', VARCHAR_IDS('char(36)')],
  ['no table of notifications', 'synchronized', 'DROP TABLE notification_log'],
  [
    'enums of statuses and types',
    'camel-case-without-zones',
    `CREATE TYPE job_status AS ENUM ('pending', 'processing', 'completed', 'failed', 'never');
     CREATE TYPE kind AS ENUM ('success', 'failure'); CREATE TYPE delivery AS ENUM ('pending', 'sent', 'failed');
     ALTER TABLE video_jobs DROP CONSTRAINT chk_video_jobs_status, ALTER status TYPE job_status USING status::job_status;
     ALTER TABLE notification_log DROP CONSTRAINT "notification_log_notificationType_check",
       DROP CONSTRAINT "notification_log_deliveryStatus_check",
       ALTER "notificationType" TYPE kind USING "notificationType"::kind,
       ALTER "deliveryStatus" TYPE delivery USING "deliveryStatus"::delivery;
     ALTER TABLE notification_log ALTER "deliveryStatus" SET DEFAULT 'pending'`,
  ],
  [
    'types of notifications that are an enum of other words',
    'from-a-script',
    `CREATE TYPE kind AS ENUM ('email', 'sms');
     ALTER TABLE notification_log ALTER type TYPE kind USING type::kind`,
  ],
  [
    'wider numbers, domains, and numbers with fractions of zero',
    'snake-case',
    `CREATE DOMAIN text_of_length AS varchar(255);
     ALTER TABLE video_jobs ALTER frame_count TYPE numeric(12, 2), ALTER filename TYPE text_of_length;
     ALTER TABLE notification_log ALTER retry_count TYPE bigint, ALTER retry_count DROP DEFAULT`,
  ],
  [
    'a view of columns that are only renamed, and a table of another program that refers to users',
    'snake-case',
    `CREATE VIEW names AS SELECT user_id, username FROM users;
     CREATE TABLE invoices (user_id uuid REFERENCES users)`,
  ],
  [
    'no keys and no checks at all',
    'snake-case',
    `ALTER TABLE notification_log DROP CONSTRAINT fk_notification_log_job, DROP CONSTRAINT chk_notification_type,
       DROP CONSTRAINT chk_delivery_status, DROP CONSTRAINT "PK_log_snake";
     ALTER TABLE video_jobs DROP CONSTRAINT fk_video_jobs_user, DROP CONSTRAINT "PK_jobs_snake";
     ALTER TABLE users DROP CONSTRAINT "PK_users_snake", DROP CONSTRAINT "UQ_users_username_snake"`,
  ],
  [
    'a record of its own migrations, and none of these',
    'snake-case',
    `DELETE FROM migrations; INSERT INTO migrations ("timestamp", name) VALUES (1600000000000, 'Init1600000000000')`,
  ],
];

/** Removes the order of columns. An adoption keeps it, and this package does not depend on it. */
const unordered = ({ columns, ...rest }: Catalog): object => ({
  ...rest,
  columns: columns.toSorted(),
});

it.each(ADOPTED)('it is adopted: %s', async (_name, kind, sql) => {
  await query(url, older(kind));
  await query(url, sql);
  const zone = 'Europe/Berlin';
  const before = await valuesIn(url, zone);
  const untouched = await everything(url);
  const planned = await cli('adopt', '--time-zone', zone);
  expect(planned).toMatchObject({ code: 0 });
  expect(await everything(url)).toEqual(untouched);
  const done = await cli('adopt', '--time-zone', zone, '--yes');
  expect(done).toMatchObject({ code: 0 });
  expect(done.lines.slice(0, -1)).toEqual(planned.lines.slice(0, -1));
  expect(await valuesIn(url, zone)).toEqual(before);
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toMatchObject({
    lines: ['Nothing to do: the database has no older tables.'],
  });
  expect(await cli('migrate')).toMatchObject({ code: 0 });
  expect(await cli('check')).toMatchObject({ code: 0 });
  await query(url, REST);
  await query(url, `DELETE FROM migrations WHERE name LIKE 'Init%'`);
  const dataSource = await new Boot().open({ url, requireCurrentSchema: true });
  expect(unordered(await readCatalog(dataSource))).toEqual(unordered(expectedCatalog()));
  const jobs = new JobService(dataSource);
  const [first] = await jobs.claimJobs({ limit: 50 });
  if (first === undefined) throw new Error('Nothing was claimed.');
  await jobs.completeJob(first, { resultUrl: 's3://b/r', frameCount: 1 });
  await dataSource.destroy();
});

it('columns that this package does not have are kept in another table, with the key of their row', async () => {
  await query(url, older('snake-case'));
  await query(
    url,
    `ALTER TABLE users ADD COLUMN "select ""it""" text, ADD COLUMN "userid" integer;
     UPDATE users SET "select ""it""" = 'of ' || username, userid = right(username, 1)::integer`,
  );
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toMatchObject({ code: 0 });
  expect(
    await query(
      url,
      `SELECT u.username, b."select ""it""" AS "text", b.userid AS "number"
       FROM users u JOIN users_before_adoption b USING ("userId") ORDER BY 1 LIMIT 2`,
    ),
  ).toEqual([
    { username: 'user1', text: 'of user1', number: 1 },
    { username: 'user2', text: 'of user2', number: 2 },
  ]);
});

it('all problems are listed, and nothing is changed', async () => {
  await query(url, older('from-a-script'));
  await query(
    url,
    `ALTER TABLE users ALTER email DROP NOT NULL, DROP CONSTRAINT users_username_key, ALTER username TYPE text;
     UPDATE users SET email = NULL WHERE username = 'user1';
     UPDATE users SET username = 'twice' WHERE username IN ('user2', 'user3');
     UPDATE users SET username = repeat('x', 51) WHERE username = 'user4';
     ALTER TABLE video_jobs ALTER status DROP DEFAULT, DROP CONSTRAINT video_jobs_user_id_fkey; DROP INDEX idx_jobs_status;
     ALTER TABLE video_jobs ALTER status TYPE text, ALTER frame_count TYPE numeric;
     UPDATE video_jobs SET status = 'queued' WHERE status = 'processing' AND filename LIKE 'f%';
     UPDATE video_jobs SET frame_count = CASE status WHEN 'failed' THEN 1.5 ELSE 3e10 END WHERE status IN ('failed', 'completed');
     UPDATE video_jobs SET user_id = gen_random_uuid() WHERE status = 'failed';
     CREATE VIEW latest AS SELECT filename, user_id FROM video_jobs ORDER BY frame_count;
     ALTER TABLE video_jobs ALTER created_at DROP DEFAULT, ALTER created_at TYPE bigint USING 0;
     CREATE TABLE notification_log_before_adoption ();
     CREATE TABLE letters (kind varchar(50));
     ALTER TABLE notification_log DROP COLUMN recipient, ALTER job_id DROP NOT NULL`,
  );
  const before = await everything(url);
  for (const args of [[], ['--yes']]) {
    const { code, lines } = await cli('adopt', '--time-zone', 'UTC', ...args);
    expect(code).toBe(1);
    const [, list = '', remedy] =
      /^frameforge-db: The database cannot be adopted as it is, and nothing was changed: (.*)\. (Correct this, and run the command again\. .*)$/.exec(
        lines.join('\n'),
      ) ?? [];
    expect(remedy).toContain('with the option `schema`');
    expect(list.split('; ')).toEqual([
      'users."username" is longer than 50 characters, in 1 row',
      'users."email" has no value, in 1 row',
      'users."username" must be unique, but several rows have the same value, for 1 value',
      'video_jobs."created_at" is bigint, and adopt cannot convert it to timestamp(3) with time zone',
      'video_jobs."frame_count" is not an integer, or is too large for one, in 10 rows',
      `video_jobs."status" is 'queued', and must be one of ('pending', 'processing', 'completed', 'failed'), in 5 rows`,
      'video_jobs."user_id" does not exist in users, in 5 rows',
      'the view latest uses video_jobs.frame_count, whose type changes: drop it, and create it again after the adoption',
      'notification_log has no column for "recipientEmail"',
      'the table notification_log_before_adoption exists already, and adopt needs this name for the values that the new table does not keep: rename it',
    ]);
  }
  expect(await everything(url)).toEqual(before);
});

it.each([
  [
    'numbers as ids',
    `DROP TABLE notification_log, video_jobs; ALTER TABLE users DROP COLUMN user_id; ALTER TABLE users ADD COLUMN user_id serial PRIMARY KEY`,
    ['users."user_id" is integer, and adopt cannot convert it to uuid'],
  ],
  [
    'texts as ids that are no UUIDs',
    `${VARCHAR_IDS('varchar(36)')}; UPDATE notification_log SET notification_id = 'n-' || left(notification_id, 30)`,
    ['notification_log."notification_id" is not a UUID, in 10 rows'],
  ],
  [
    'texts as ids that others refer to',
    `${VARCHAR_IDS('varchar(36)')}; CREATE TABLE invoices (user_id varchar(36) CONSTRAINT billed REFERENCES users)`,
    [
      'the foreign key billed of invoices uses users.user_id, whose type changes: drop it, and create it again after the adoption',
    ],
  ],
  [
    'a policy',
    `CREATE POLICY mine ON video_jobs USING (created_at > '2026-01-01')`,
    [
      'the policy mine uses video_jobs.created_at, whose type changes: drop it, and create it again after the adoption',
    ],
  ],
])('it is refused: %s', async (_name, sql, problems) => {
  await query(url, older('snake-case'));
  await query(url, sql);
  const before = await everything(url);
  const { code, lines } = await cli('adopt', '--time-zone', 'UTC', '--yes');
  expect(code).toBe(1);
  expect(lines.join()).toContain(`nothing was changed: ${problems.join('; ')}. Correct this`);
  expect(await everything(url)).toEqual(before);
});

it.each([
  [
    'an enum',
    `DROP CONSTRAINT chk_video_jobs_status, ALTER status DROP DEFAULT, ALTER status TYPE state USING status::state`,
    /status" is state, not/,
  ],
  [
    'a default that is missing',
    'ALTER "createdAt" DROP DEFAULT',
    /"createdAt" has no default, but this package relies on one/,
  ],
  [
    'a value that is required',
    `ALTER "frameCount" SET NOT NULL`,
    /"frameCount" is NOT NULL, but this package often stores no value in it/,
  ],
  [
    'a primary key that is missing',
    `DROP CONSTRAINT video_jobs_pkey CASCADE`,
    /video_jobs\."jobId" is not unique; notification_log\."jobId" has no foreign key to video_jobs with ON DELETE CASCADE\./,
  ],
  [
    'a foreign key that does not delete',
    `DROP CONSTRAINT fk_video_jobs_user, ADD CONSTRAINT fk_video_jobs_user FOREIGN KEY ("userId") REFERENCES users`,
    /: video_jobs\."userId" has no foreign key to users with ON DELETE CASCADE\./,
  ],
  [
    'a foreign key to another table',
    `DROP CONSTRAINT fk_video_jobs_user, ADD CONSTRAINT fk_video_jobs_user FOREIGN KEY ("userId") REFERENCES accounts ON DELETE CASCADE`,
    /: video_jobs\."userId" has no foreign key to users with ON DELETE CASCADE\./,
  ],
  [
    'a CHECK that is missing',
    `DROP CONSTRAINT chk_video_jobs_status`,
    /: video_jobs\."status" has no CHECK that allows 'pending', 'processing', 'completed', 'failed'\./,
  ],
  [
    'a CHECK that allows too little',
    `DROP CONSTRAINT chk_video_jobs_status, ADD CONSTRAINT chk_jobs_status CHECK (status IN ('pending', 'processing', 'completed', 'broken')) NOT VALID`,
    /: video_jobs\."status" has no CHECK that allows 'pending', 'processing', 'completed', 'failed'\./,
  ],
  [
    'names that are not unique',
    `ALTER status SET DEFAULT 'pending'; ALTER TABLE users DROP CONSTRAINT users_username_key;
     CREATE UNIQUE INDEX part ON users (username) WHERE email <> ''`,
    /: users\."username" is not unique\./,
  ],
])('a boot refuses recorded tables for %s', async (_name, change, message) => {
  await query(url, older('camel-case-without-zones'));
  // Makes the tables equal to those of the first three migrations, as far as the package compares them.
  await query(
    url,
    `CREATE TYPE state AS ENUM ('pending', 'processing', 'completed', 'failed');
     CREATE TABLE accounts (id uuid PRIMARY KEY); INSERT INTO accounts SELECT "userId" FROM users;
     ALTER TABLE video_jobs ALTER status SET DEFAULT 'pending',
       ALTER "createdAt" TYPE timestamptz(3), ALTER "startedAt" TYPE timestamptz(3), ALTER "completedAt" TYPE timestamptz(3);
     ALTER TABLE users ALTER "createdAt" TYPE timestamptz(3), ALTER "updatedAt" TYPE timestamptz(3);
     ALTER TABLE notification_log ALTER "createdAt" TYPE timestamptz(3), ALTER "sentAt" TYPE timestamptz(3),
       ALTER "deliveryStatus" SET DEFAULT 'pending'; UPDATE video_jobs SET "frameCount" = 1`,
  );
  const taken = await cli('status');
  expect(taken).toMatchObject({ code: 0 });
  await query(url, `ALTER TABLE video_jobs ${change}`);
  const before = await everything(url);
  for (const command of ['status', 'check', 'migrate']) {
    expect((await cli(command)).lines.join('\n')).toMatch(message);
  }
  const { error } = await failedBoot({ url });
  expect(error.message).toMatch(message);
  expect(error.message).toMatch(/^The tables of the database differ .*frameforge-db adopt/);
  expect(await everything(url)).toEqual(before);
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toMatchObject({ code: 0 });
  expect(await cli('migrate')).toMatchObject({ code: 0 });
  expect(await cli('check')).toMatchObject({ code: 0 });
});

it('a constraint that is missing after the fourth migration does not stop a boot, and `check` reports it', async () => {
  expect(await cli('migrate')).toMatchObject({ code: 0 });
  await query(url, `ALTER TABLE users DROP CONSTRAINT uq_users_email`);
  const dataSource = await new Boot().open({ url, requireCurrentSchema: true });
  await dataSource.destroy();
  expect(await cli('status')).toMatchObject({ code: 0 });
  const { code, lines } = await cli('check');
  expect({ code, lines: lines.join() }).toEqual({
    code: 1,
    lines: expect.stringContaining('of "users" is missing: it should be UNIQUE ("email")'),
  });
});

it('tables whose names differ in capital letters are ignored and stay unchanged', async () => {
  await query(
    url,
    `CREATE TABLE "Users" (user_id uuid DEFAULT gen_random_uuid() PRIMARY KEY, username varchar(50) NOT NULL UNIQUE);
     CREATE TABLE "VideoJobs" (job_id uuid DEFAULT gen_random_uuid() PRIMARY KEY, user_id uuid NOT NULL REFERENCES "Users", status text NOT NULL);
     INSERT INTO "Users" (username) VALUES ('ada');
     INSERT INTO "VideoJobs" (user_id, status) SELECT user_id, 'queued' FROM "Users"`,
  );
  const theirs = () => query(url, `SELECT * FROM "Users" JOIN "VideoJobs" USING (user_id)`);
  const before = await theirs();
  expect(before).toHaveLength(1);
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toMatchObject({
    code: 0,
    lines: ['Nothing to do: the database has no older tables.'],
  });
  const dataSource = await new Boot().open({ url });
  expect((await new JobService(dataSource).listJobs({})).jobs).toEqual([]);
  await dataSource.destroy();
  expect(await cli('check')).toMatchObject({ code: 0 });
  expect(await theirs()).toEqual(before);
});

it('a time that does not exist in the zone is refused', async () => {
  await query(url, older('snake-case'));
  await query(url, `UPDATE video_jobs SET created_at = '2026-03-08 02:30' WHERE status = 'failed'`);
  expect(await cli('adopt', '--time-zone', 'America/New_York', '--yes')).toMatchObject({
    code: 1,
    lines: [
      expect.stringContaining(
        'video_jobs."created_at" is a time that does not exist in America/New_York, because the clocks were put forward (it was written in another time zone), in 5 rows',
      ),
    ],
  });
  expect(await cli('adopt', '--time-zone', 'UTC')).toMatchObject({ code: 0 });
});

it.each([
  ['America/New_York', '2026-11-01 01:30', '2026-11-01T06:30:00.000Z'],
  ['Europe/Dublin', '2026-10-25 01:30', '2026-10-25T01:30:00.000Z'],
  ['Australia/Sydney', '2026-04-05 02:30', '2026-04-04T16:30:00.000Z'],
])(
  'times in an hour that occurs twice in %s are listed, and the later hour is used',
  async (zone, at, later) => {
    await query(url, older('snake-case'));
    await query(url, `UPDATE video_jobs SET created_at = '${at}' WHERE status = 'failed'`);
    const { lines } = await cli('adopt', '--time-zone', zone, '--yes');
    expect(lines).toContain(
      `  note: 5 times of "createdAt" can mean two hours, because the clocks in ${zone} were put back; the later hour is used`,
    );
    expect(
      await query(url, `SELECT DISTINCT "createdAt" FROM video_jobs WHERE status = 'failed'`),
    ).toEqual([{ createdAt: new Date(later) }]);
  },
);

it('a notification that is held keeps its earlier error', async () => {
  await query(url, older('from-a-script'));
  await query(
    url,
    `UPDATE notification_log SET error_message = 'mailbox full' WHERE status = 'pending'`,
  );
  expect(await cli('adopt', '--time-zone', 'UTC', '--yes')).toMatchObject({ code: 0 });
  expect(
    await query(
      url,
      `SELECT DISTINCT "errorMessage" AS "error" FROM notification_log WHERE "deliveryStatus" = 'failed'`,
    ),
  ).toEqual([
    {
      error:
        'Held by frameforge-db adopt: it may have been sent already. Its earlier error: mailbox full',
    },
  ]);
});
