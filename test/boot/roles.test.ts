import { readFileSync } from 'node:fs';
import { randomBytes, randomUUID } from 'node:crypto';
import type { DataSource } from 'typeorm';
import { run } from '../../src/cli/cli.commands.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import { NotificationType, User } from '../../src/schema/entities/index.js';
import { Boot, bootOnce } from '../connection/boot.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';

/** The SQL of the document, in order. The roles get names of this run, because roles belong to the whole server. */
const suffix = randomBytes(4).toString('hex');
const [ROLES, GRANTS, USERS, ...rest] = [
  ...readFileSync('docs/roles.md', 'utf8').matchAll(/^```sql\n([^]*?)^```/gm),
].map(([, sql = '']) => sql.replaceAll(/frameforge_(owner|app)/g, `ff_$1_${suffix}`)) as [
  string,
  string,
  string,
];

let database: TestDatabase;
let owner: string;
let app: string;
beforeAll(async () => {
  expect(rest).toEqual([]);
  database = await createDatabase();
  await query(database.url, ROLES);
  owner = as('owner', `the owner's password`);
  app = as('app', `the services' password`);
});
afterAll(async () => {
  await query(database.url, `DROP OWNED BY ff_owner_${suffix}, ff_app_${suffix}`);
  await query(database.url, `DROP ROLE ff_owner_${suffix}, ff_app_${suffix}`);
  await database.drop();
});

function as(role: string, password: string): string {
  const url = new URL(database.url);
  url.username = `ff_${role}_${suffix}`;
  url.password = encodeURIComponent(password);
  return url.href;
}

/** Runs the command line as the owner. */
async function command(name: string): Promise<{ code: number; lines: string[] }> {
  const { DATABASE_URL } = process.env;
  process.env['DATABASE_URL'] = owner;
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  try {
    return { code: await run([name], { out: write, err: write }), lines };
  } finally {
    if (DATABASE_URL === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = DATABASE_URL;
  }
}

// The tests run one after the other, in the order of a first deployment.
describe('the roles of docs/roles.md', () => {
  it('before the migrations: a service boots, says what is missing, and changes nothing', async () => {
    const told = await bootOnce({ url: app, migrationsRun: false });
    expect(told).toEqual([
      expect.stringMatching(
        /^The database lacks \d migrations of this release: CreateUsersTable1700000001000, .*npx frameforge-db migrate/,
      ),
    ]);
    expect(await query(database.url, `SELECT FROM pg_tables WHERE schemaname = 'public'`)).toEqual(
      [],
    );
  });

  it('the owner migrates, and finds nothing wrong', async () => {
    expect(await command('migrate')).toMatchObject({ code: 0 });
    expect(await command('check')).toMatchObject({ code: 0 });
  });

  it('before the grants: a service is told which privileges it lacks', async () => {
    await expect(bootOnce({ url: app, migrationsRun: false })).rejects.toThrow(
      /^Booting on .* is not allowed to this database role: permission denied for table migrations\. Grant the role the privileges listed in docs\/roles\.md\.$/,
    );
  });

  describe('after the grants', () => {
    let dataSource: DataSource;
    const boot = new Boot();
    beforeAll(async () => {
      await query(owner, GRANTS);
      await query(owner, GRANTS);
      dataSource = await boot.open({ url: app, migrationsRun: false, requireCurrentSchema: true });
    });
    afterAll(() => dataSource.destroy());

    it('a service boots, and logs no warning', async () => {
      expect(boot.told).toEqual([]);
      // No migration is pending, so the role needs no privilege to migrate.
      expect(await bootOnce({ url: app })).toEqual([]);
    });

    it('a service does all that the package does', async () => {
      const [user] = await query(
        owner,
        `INSERT INTO users (username, email, "passwordHash")
         VALUES ('ann', 'ann@example.com', 'secret') RETURNING "userId"`,
      );
      const jobs = new JobService(dataSource);
      const notifications = new NotificationService(dataSource);
      const input = { userId: String(user?.['userId']), filename: 'a.mp4', videoUrl: 's3://b/a' };
      const result = { resultUrl: 's3://b/r', frameCount: 1 };
      await jobs.createJob({ ...input, jobId: randomUUID() });
      await jobs.createJobs([input, input, input]);
      const [first, second, third, fourth] = await jobs.claimJobs({ workerId: 'w' });
      if (!first || !second || !third || !fourth) throw new Error('four jobs were created');
      await jobs.extendLeases([first], { leaseMs: 1000 });
      await jobs.completeJob(first, result);
      await jobs.completeJobs([{ job: second, result }]);
      await jobs.failJob(third, { errorMessage: 'no' });
      await jobs.retryJob(third.jobId);
      await jobs.listAttemptErrors(third.jobId);
      await jobs.releaseJob(fourth);
      const started = await jobs.startJob(fourth.jobId);
      await jobs.failJob(started, { errorMessage: 'no', retryInMs: 0 });
      await jobs.getJob(first.jobId);
      await jobs.listJobs();
      const counts = { pending: 2, processing: 0, completed: 2, failed: 0 };
      expect(await jobs.countJobs()).toEqual(counts);
      await notifications.logNotification({
        jobId: first.jobId,
        notificationType: NotificationType.SUCCESS,
      });
      const [failed, ...sent] = await notifications.claimNotifications();
      if (!failed) throw new Error('there are notifications');
      await notifications.markFailed(failed, { errorMessage: 'no' });
      for (const notification of sent) await notifications.markSent(notification);
      await notifications.listNotifications();
      expect(await dataSource.getRepository(User).findOneBy({ username: 'ann' })).toMatchObject({
        email: 'ann@example.com',
      });
      expect(await jobs.pruneJobs({ olderThan: new Date(Date.now() + 60_000) })).toBe(2);
    });

    it.each([
      ['read a password hash', 'SELECT "passwordHash" FROM users'],
      ['register users', `INSERT INTO users (username) VALUES ('eve')`],
      ['rewrite the record of migrations', 'DELETE FROM migrations'],
      ['create a table', 'CREATE TABLE mine (n int)'],
      ['change a table', 'ALTER TABLE video_jobs ADD COLUMN mine int'],
      ['drop a table', 'DROP TABLE notification_log'],
      ['delete notifications', 'DELETE FROM notification_log'],
      ['rewrite what went wrong', 'UPDATE job_attempt_errors SET "errorMessage" = NULL'],
    ])('a service cannot %s', async (_, statement) => {
      await expect(query(app, statement)).rejects.toMatchObject({ code: '42501' });
    });

    it('a service can register users with one more grant', async () => {
      await query(owner, USERS);
      const users = dataSource.getRepository(User);
      const user = users.create({ username: 'bob', email: 'bob@example.com', passwordHash: 'h' });
      await users.save(user);
      const found = await users.findOneOrFail({
        where: { username: 'bob' },
        select: { passwordHash: true },
      });
      expect(found.passwordHash).toBe('h');
    });
  });
});
