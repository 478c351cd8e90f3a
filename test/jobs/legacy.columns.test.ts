import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, makers, result, stored } from './fixtures.js';

// These tests check each later column after a service that knows only the first three migrations has written the rows.

let h: Harness;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
beforeEach(() => h.dataSource.query('DELETE FROM users'));
afterAll(() => h.close());

/** The columns of the first three migrations. Such a service names no others. */
const FIRST = {
  video_jobs: `jobId userId filename status videoUrl resultUrl frameCount errorMessage createdAt startedAt completedAt`,
  notification_log: `notificationId jobId notificationType recipientEmail deliveryStatus retryCount errorMessage createdAt sentAt`,
};

// These are the statements of such a service.
const update = (jobId: string, assignments: string): Promise<unknown> =>
  h.dataSource.query(`UPDATE video_jobs SET ${assignments} WHERE "jobId" = $1`, [jobId]);
const insert = async (status = 'pending'): Promise<string> => {
  const { userId } = await h.user();
  const [job] = await h.dataSource.query(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl", status)
     VALUES ($1, 'a.mp4', 's3://videos/a.mp4', $2) RETURNING "jobId"`,
    [userId, status],
  );
  return (job as { jobId: string }).jobId;
};
const start = (jobId: string) => update(jobId, `status = 'processing', "startedAt" = now()`);
const complete = (jobId: string) =>
  update(
    jobId,
    `status = 'completed', "completedAt" = now(), "resultUrl" = 's3://frames/1', "frameCount" = 1`,
  );
const fail = (jobId: string) =>
  update(jobId, `status = 'failed', "completedAt" = now(), "errorMessage" = 'by hand'`);
const retry = (jobId: string) =>
  update(
    jobId,
    `status = 'pending', "startedAt" = NULL, "completedAt" = NULL, "errorMessage" = NULL`,
  );
const log = (jobId: string, type: 'success' | 'failure'): Promise<{ notificationId: string }[]> =>
  h.dataSource.query(
    `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail")
     VALUES ($1, $2, 'a@example.com') RETURNING "notificationId"`,
    [jobId, type],
  );

const at = (jobId: string): Promise<VideoJob> => stored(h.dataSource, jobId);
const claimOne = async (): Promise<VideoJob> => {
  const [job, ...others] = await h.jobs.claimJobs({ leaseMs: HOUR_MS });
  expect(others).toEqual([]);
  return job!;
};

const CASES: Record<string, () => Promise<unknown>> = {
  'video_jobs.availableAt': async () => {
    const jobId = await insert();
    expect(await claimOne()).toMatchObject({ jobId });
    // A job that such a service retries is due at once, whenever its lease would have ended.
    await fail(jobId);
    await h.dataSource.query(`UPDATE video_jobs SET "availableAt" = now() - interval '1 s'`);
    await retry(jobId);
    expect(await claimOne()).toMatchObject({ jobId, runNumber: 2 });
  },
  'video_jobs.runNumber': async () => {
    const { jobId } = await make.failed();
    await retry(jobId);
    await start(jobId);
    await fail(jobId);
    expect(await at(jobId)).toMatchObject({ runNumber: 1 });
    await retry(jobId);
    expect(await claimOne()).toMatchObject({ jobId, runNumber: 2 });
  },
  'video_jobs.workerId': async () => {
    const job = await make.leased();
    await complete(job.jobId);
    expect(await at(job.jobId)).toMatchObject({ status: 'completed', workerId: null });
    await expect(h.jobs.completeJob(job, result)).rejects.toMatchObject({ code: 'LEASE_LOST' });
  },
  'video_jobs.attempts': async () => {
    const { jobId } = await make.failed();
    expect(await at(jobId)).toMatchObject({ attempts: 1 });
    await retry(jobId);
    expect(await at(jobId)).toMatchObject({ attempts: 0 });
  },
  'video_jobs.progress': () => progress(),
  'video_jobs.progressMessage': () => progress(),
  'video_jobs.cancelledAt': async () => {
    const { jobId } = await h.jobs.cancelJob((await make.leased()).jobId);
    await expect(complete(jobId)).rejects.toMatchObject({ constraint: 'chk_jobs_cancelled' });
    await retry(jobId);
    expect(await at(jobId)).toMatchObject({ status: 'pending', cancelledAt: null });
    await start(jobId);
    await complete(jobId);
    expect(await at(jobId)).toMatchObject({ status: 'completed', cancelledAt: null });
  },
  'video_jobs.parameters': async () => {
    expect(await at(await insert())).toMatchObject({ parameters: null });
    const { userId } = await h.user();
    const parameters = { fps: 2 };
    const input = { userId, filename: 'a.mp4', videoUrl: 's3://videos/a.mp4', parameters };
    const { jobId } = await h.jobs.createJob(input);
    for (const move of [start, fail, retry, start, complete]) {
      await move(jobId);
      expect(await at(jobId)).toMatchObject({ parameters });
    }
  },
  'video_jobs.output': async () => {
    const own = await insert('processing');
    await complete(own);
    expect(await h.jobs.getJob(own)).toMatchObject({ status: 'completed', output: null });
    const job = await make.leased();
    await h.jobs.completeJob(job, { ...result, output: { seconds: 9 } });
    await update(job.jobId, `filename = 'b.mp4'`);
    expect(await at(job.jobId)).toMatchObject({ output: { seconds: 9 }, filename: 'b.mp4' });
  },
  'notification_log.availableAt': async () => {
    const jobId = await insert('failed');
    const [own] = await log(jobId, 'failure');
    expect(await h.notifications.claimNotifications()).toMatchObject([own!]);
  },
  'notification_log.deliveryNumber': async () => {
    const jobId = await insert('failed');
    await log(jobId, 'failure');
    const [claimed] = await h.notifications.claimNotifications();
    await h.dataSource.query(
      `UPDATE notification_log SET "deliveryStatus" = 'sent', "sentAt" = now() WHERE "jobId" = $1`,
      [jobId],
    );
    const late = { status: 'sent', deliveryNumber: 1, code: 'LEASE_LOST' };
    await expect(h.notifications.markSent(claimed!)).rejects.toMatchObject(late);
  },
  'notification_log.runNumber': async () => {
    // Such a service may log several notifications for a job, because they have no run number.
    const jobId = await insert('failed');
    await log(jobId, 'failure');
    await log(jobId, 'failure');
    const { notifications } = await h.notifications.listNotifications({ jobId });
    expect(notifications.map(({ runNumber }) => runNumber)).toEqual([null, null]);
    await retry(jobId);
    const job = await claimOne();
    const { notification } = await h.jobs.completeJob(job, result);
    expect(notification).toMatchObject({ runNumber: 1, notificationType: 'success' });
  },
};

async function progress(): Promise<void> {
  const job = await make.leased();
  await h.jobs.reportProgress([{ job, percent: 40, message: 'half' }]);
  await fail(job.jobId);
  expect(await at(job.jobId)).toMatchObject({ progress: 40, progressMessage: 'half' });
  // Such a service reports no progress. Its run has 0, and 100 when it is completed.
  await retry(job.jobId);
  await start(job.jobId);
  expect(await at(job.jobId)).toMatchObject({ progress: 0, progressMessage: null });
  expect(await h.jobs.reportProgress([{ job, percent: 50 }])).toEqual([]);
  const other = await make.pending();
  await start(other.jobId);
  await complete(other.jobId);
  expect(await at(other.jobId)).toMatchObject({ progress: 100 });
  await fail(job.jobId);
  await retry(job.jobId);
  const next = await claimOne();
  expect(next).toMatchObject({ progress: 0, progressMessage: null });
  await h.jobs.completeJob(next, result);
  expect(await at(job.jobId)).toMatchObject({ progress: 100 });
}

it('each later column has a case here', async () => {
  const tables = Object.keys(FIRST);
  const rows: { table: keyof typeof FIRST; column: string }[] = await h.dataSource.query(
    `SELECT table_name AS "table", column_name AS "column" FROM information_schema.columns
     WHERE table_schema = current_schema() AND table_name = ANY($1)`,
    [tables],
  );
  const later = rows.filter(({ table, column }) => !FIRST[table].split(' ').includes(column));
  expect(later.map(({ table, column }) => `${table}.${column}`).toSorted()).toEqual(
    Object.keys(CASES).toSorted(),
  );
});

it.each(Object.entries(CASES))('%s', (_, run) => run());
