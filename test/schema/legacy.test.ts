import { DataSource } from 'typeorm';
// A service imports this package under the name '@frameforge/shared-types'.
import * as migrations from '../../src/index.js';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import { resolveOptions } from '../../src/database.options.js';
import { createDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';
import { readCatalog } from './catalog.js';
import { expectedCatalog } from './expected-catalog.js';

/**
 * A service that was written before this package had a module. It runs three migrations with plain TypeORM, as
 * their document says, and knows no other columns.
 */
async function openLegacyService(): Promise<DataSource> {
  const dataSource = new DataSource({
    type: 'postgres',
    host: process.env['DB_HOST'],
    port: parseInt(process.env['DB_PORT'] || '5432'),
    username: process.env['DB_USER'],
    password: process.env['DB_PASSWORD'],
    database: process.env['DB_NAME'],
    entities: [],
    migrations: [
      migrations.CreateUsersTable1700000001000,
      migrations.CreateVideoJobsTable1700000002000,
      migrations.CreateNotificationLogTable1700000003000,
    ],
    synchronize: false,
  });
  await dataSource.initialize();
  await dataSource.runMigrations();
  return dataSource;
}

let database: TestDatabase;
let legacy: DataSource;
const before = { ...process.env };
beforeAll(async () => {
  database = await createDatabase();
  const url = new URL(database.url);
  Object.assign(process.env, {
    DB_HOST: url.hostname,
    DB_PORT: url.port,
    DB_USER: decodeURIComponent(url.username),
    DB_PASSWORD: decodeURIComponent(url.password),
    DB_NAME: url.pathname.slice(1),
  });
  legacy = await openLegacyService();
});
afterAll(async () => {
  await legacy.destroy();
  await database.drop();
  process.env = before;
});

it('gets the schema of the three migrations', async () => {
  expect(await readCatalog(legacy)).toEqual(expectedCatalog(3));
});

describe('beside a service that has this release', () => {
  let dataSource: DataSource;
  let jobs: migrations.JobService;
  let log: migrations.NotificationService;
  let userId: string;
  beforeAll(async () => {
    const { dataSource: options, boot } = resolveOptions({ url: database.url });
    dataSource = await openDataSource(options, boot, { log: () => {}, warn: () => {} });
    jobs = new migrations.JobService(dataSource);
    log = new migrations.NotificationService(dataSource);
    const [user] = await legacy.query(`
      INSERT INTO users (username, email, "passwordHash")
      VALUES ('ada', 'ada@example.com', 'hash') RETURNING "userId"`);
    ({ userId } = user as { userId: string });
  });
  afterAll(() => dataSource.destroy());

  const insertJob = async (status: string): Promise<string> => {
    const [job] = await legacy.query(
      `INSERT INTO video_jobs ("userId", filename, status, "videoUrl", "startedAt")
       VALUES ($1, 'cat.mp4', $2, 's3://videos/cat.mp4', now()) RETURNING "jobId"`,
      [userId, status],
    );
    return (job as { jobId: string }).jobId;
  };

  it('has no migration to run when it starts again', async () => {
    const again = await openLegacyService();
    expect(await readCatalog(again)).toEqual(expectedCatalog());
    await again.destroy();
  });

  it('writes pending jobs that can be claimed at once', async () => {
    const jobId = await insertJob('pending');
    const claimed = await jobs.claimJobs();
    expect(claimed.map((job) => job.jobId)).toContain(jobId);
    expect(claimed.find((job) => job.jobId === jobId)).toMatchObject({ runNumber: 1, attempts: 1 });
  });

  it('keeps the jobs that it processes itself: no claim takes them', async () => {
    const jobId = await insertJob('processing');
    expect((await jobs.claimJobs()).map((job) => job.jobId)).not.toContain(jobId);
    await expect(jobs.startJob(jobId)).rejects.toMatchObject({ code: 'INVALID_JOB_TRANSITION' });
    await legacy.query(
      `UPDATE video_jobs SET status = 'completed', "completedAt" = now(), "resultUrl" = 's3://r/1',
         "frameCount" = 3 WHERE "jobId" = $1`,
      [jobId],
    );
    expect(await jobs.getJob(jobId)).toMatchObject({ status: 'completed', frameCount: 3 });
  });

  it('logs its own notifications, also several for one job, and they are delivered like all others', async () => {
    const jobId = await insertJob('failed');
    const insert = (): Promise<unknown> =>
      legacy.query(
        `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail")
         VALUES ($1, 'failure', 'ada@example.com')`,
        [jobId],
      );
    await insert();
    await insert();
    const claimed = (await log.claimNotifications()).filter((row) => row.jobId === jobId);
    expect(claimed).toHaveLength(2);
    for (const row of claimed) expect(row).toMatchObject({ runNumber: null, deliveryNumber: 1 });
    expect(await log.markSent(claimed[0]!)).toMatchObject({ deliveryStatus: 'sent' });
    // For this release, the run still has no notification. This call logs one.
    const logged = await log.logNotification({
      jobId,
      notificationType: migrations.NotificationType.FAILURE,
    });
    expect(logged).toMatchObject({ runNumber: 0, recipientEmail: 'ada@example.com' });
  });

  it('reads and updates rows that this release wrote', async () => {
    const created = await jobs.createJob({ userId, filename: 'dog.mp4', videoUrl: 's3://v/dog' });
    await legacy.query(`UPDATE video_jobs SET filename = 'hound.mp4' WHERE "jobId" = $1`, [
      created.jobId,
    ]);
    expect(await jobs.getJob(created.jobId)).toEqual({ ...created, filename: 'hound.mp4' });
  });
});
