import { JobStatus, NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

// The database itself enforces these rules when a program writes without the services.

let h: Harness;
let userId: string;
beforeAll(async () => {
  h = await openHarness();
  ({ userId } = await h.user());
});
afterAll(() => h.close());

const create = (): Promise<VideoJob> =>
  h.jobs.createJob({ userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' });
const claim = async (job: VideoJob): Promise<VideoJob> =>
  h.jobs.startJob(job.jobId, { leaseMs: 60_000 });
const result = { resultUrl: 's3://frames/cat.zip', frameCount: 1 };

it('a repository that saves an old copy of a job does not change its fencing token', async () => {
  const stale = await h.dataSource
    .getRepository(VideoJob)
    .findOneByOrFail({ jobId: (await create()).jobId });
  const first = await claim(stale);
  stale.filename = 'dog.mp4';
  await h.dataSource.getRepository(VideoJob).save(stale);
  const now = await h.jobs.getJob(stale.jobId);
  expect(now).toMatchObject({ filename: 'dog.mp4', runNumber: 1, attempts: 1, status: 'pending' });
  const second = await claim(now);
  expect(second.runNumber).toBe(2);
  await expect(h.jobs.completeJob(first, result)).rejects.toMatchObject({ code: 'LEASE_LOST' });
  await h.jobs.completeJob(second, result);
});

it('an older service that starts a released job ends no other run and records no result', async () => {
  const first = await claim(await create());
  await h.jobs.releaseJob(first);
  await h.dataSource.query(
    `UPDATE video_jobs SET status = 'processing', "startedAt" = $2 WHERE "jobId" = $1`,
    [first.jobId, first.startedAt],
  );
  const left = await h.jobs.getJob(first.jobId);
  expect(left).toMatchObject({ status: 'processing', workerId: null, runNumber: 1 });
  // The earlier holder is refused, and no claim takes the job.
  await expect(h.jobs.completeJob(first, result)).rejects.toMatchObject({ code: 'LEASE_LOST' });
  expect(await h.jobs.extendLeases([first], { leaseMs: 60_000 })).toEqual([]);
  await h.dataSource.query(
    `UPDATE video_jobs SET "availableAt" = now() - interval '1 hour' WHERE "jobId" = $1`,
    [first.jobId],
  );
  const claimed = await h.jobs.claimJobs({ limit: 1000 });
  expect(claimed.map(({ jobId }) => jobId)).not.toContain(first.jobId);
  const { notifications: none } = await h.notifications.listNotifications({ jobId: first.jobId });
  expect(none).toEqual([]);
  // The remedy of docs/operations.md frees the job, and the next run has a token of its own.
  await h.jobs.releaseJob(left);
  const second = await claim(left);
  expect(second.runNumber).toBe(2);
  await h.jobs.completeJob(second, result);
  const { notifications } = await h.notifications.listNotifications({ jobId: first.jobId });
  expect(notifications).toMatchObject([{ runNumber: 2, notificationType: 'success' }]);
});

it('a repository writes none of the queue columns', async () => {
  const job = await claim(await create());
  const queueColumns = {
    availableAt: new Date(0),
    runNumber: 7,
    workerId: 'someone',
    attempts: 7,
    progress: 7,
    progressMessage: 'seven',
    cancelledAt: new Date(0),
    parameters: {},
    output: {},
  };
  const repository = h.dataSource.getRepository(VideoJob);
  await repository.save(Object.assign(await h.jobs.getJob(job.jobId), queueColumns));
  expect(await h.jobs.getJob(job.jobId)).toEqual(job);
  const { notification } = await h.jobs.completeJob(job, result);
  const log = h.dataSource.getRepository(NotificationLog);
  await log.save(
    Object.assign(await log.findOneByOrFail({ notificationId: notification.notificationId }), {
      availableAt: new Date(0),
      deliveryNumber: 7,
      runNumber: 7,
    }),
  );
  expect(await log.findOneByOrFail({ jobId: job.jobId })).toEqual(notification);
});

it('an update cannot make a completed job pending again', async () => {
  const { jobId } = await create();
  await h.jobs.completeJob(await claim(await h.jobs.getJob(jobId)), result);
  const pending = { filename: 'dog.mp4', status: JobStatus.PENDING };
  await expect(h.dataSource.getRepository(VideoJob).update(jobId, pending)).rejects.toThrow(
    'An update of video_jobs was refused: a completed job is final.',
  );
  expect(await h.jobs.getJob(jobId)).toMatchObject({
    status: JobStatus.COMPLETED,
    filename: 'cat.mp4',
  });
});

it.each(['pending', 'processing', 'failed'])('a completed job cannot become %s', async (status) => {
  const { job } = await h.jobs.completeJob(await claim(await create()), result);
  const update = h.dataSource.query(`UPDATE video_jobs SET status = $2 WHERE "jobId" = $1`, [
    job.jobId,
    status,
  ]);
  await expect(update).rejects.toMatchObject({
    code: '23514',
    driverError: { constraint: 'trg_jobs_refuse_uncompleting', table: 'video_jobs' },
  });
});

it('an update cannot have a notification sent a second time', async () => {
  const { notification } = await h.jobs.completeJob(await claim(await create()), result);
  const log = h.dataSource.getRepository(NotificationLog);
  const { notificationId } = notification;
  for (const each of await h.notifications.claimNotifications({ limit: 1000 })) {
    await h.notifications.markSent(each);
  }
  await expect(log.update(notificationId, { deliveryStatus: 'pending' })).rejects.toThrow(
    'An update of notification_log was refused: what was sent is not sent again.',
  );
  // A sender may report that an e-mail has come back, also after it was recorded as sent.
  await h.dataSource.query(
    `UPDATE notification_log SET "deliveryStatus" = 'failed' WHERE "notificationId" = $1`,
    [notificationId],
  );
});

it('a run number and a delivery number never become smaller', async () => {
  const job = await claim(await create());
  await expect(
    h.dataSource.query(`UPDATE video_jobs SET "runNumber" = 0 WHERE "jobId" = $1`, [job.jobId]),
  ).rejects.toThrow('"runNumber" never becomes smaller');
  await h.jobs.completeJob(job, result);
  await h.notifications.claimNotifications();
  await expect(
    h.dataSource.query(`UPDATE notification_log SET "deliveryNumber" = 0 WHERE "jobId" = $1`, [
      job.jobId,
    ]),
  ).rejects.toThrow('"deliveryNumber" never becomes smaller');
});

it.each([7, 100])(
  'a job that failed at %s %% and that an older service makes pending has all of its tries, and is not cancelled',
  async (progress) => {
    const { job } = await h.jobs.failJob(await claim(await create()), { errorMessage: 'no video' });
    const set = (columns: string): Promise<unknown> =>
      h.dataSource.query(`UPDATE video_jobs SET ${columns} WHERE "jobId" = $1`, [job.jobId]);
    await set(`"cancelledAt" = now(), attempts = 5, progress = ${progress}`);
    await set(`status = 'pending', "startedAt" = NULL, "completedAt" = NULL`);
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({
      attempts: 0,
      cancelledAt: null,
      progress: 0,
    });
  },
);

it('a cancelled job cannot be completed by a service that does not know of cancellations', async () => {
  const { job } = await h.jobs.failJob(await claim(await create()), { errorMessage: 'no video' });
  const set = (columns: string): Promise<unknown> =>
    h.dataSource.query(`UPDATE video_jobs SET ${columns} WHERE "jobId" = $1`, [job.jobId]);
  await set(`"cancelledAt" = now()`);
  for (const status of ['completed', 'processing']) {
    await expect(set(`status = '${status}'`)).rejects.toMatchObject({
      driverError: { constraint: 'chk_jobs_cancelled' },
    });
  }
});

it.each([
  ['pending', 0],
  ['pending', 100],
  ['failed', 0],
  ['failed', 100],
  ['completed', 0],
  ['completed', 100],
])(
  'an UPDATE by hand to %s that takes a job out of a run at %i %% ends its lease',
  async (status, progress) => {
    const job = await claim(await create());
    const set = (columns: string): Promise<unknown> =>
      h.dataSource.query(`UPDATE video_jobs SET ${columns} WHERE "jobId" = $1`, [job.jobId]);
    await set(`progress = ${progress}`);
    await set(`status = '${status}'`);
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({
      status,
      workerId: null,
      attempts: 1,
      progress: status === 'completed' ? 100 : progress,
    });
  },
);

it('an UPDATE that leaves a job pending changes neither its tries nor when it is due', async () => {
  const { job } = await h.jobs.failJob(await claim(await create()), {
    errorMessage: 'try again',
    retryInMs: 60_000,
  });
  expect(job).toMatchObject({ status: 'pending', attempts: 1 });
  await h.dataSource.query(`UPDATE video_jobs SET status = 'pending' WHERE "jobId" = $1`, [
    job.jobId,
  ]);
  expect(await h.jobs.getJob(job.jobId)).toEqual(job);
});

it.each([
  ['chk_jobs_progress', `progress = 101`],
  ['chk_jobs_progress', `progress = -1`],
  ['chk_jobs_parameters_size', `parameters = to_jsonb(repeat('x', 65536))`],
  ['chk_jobs_output_size', `output = to_jsonb(repeat('x', 65536))`],
  ['chk_jobs_cancelled', `"cancelledAt" = now()`],
])('%s refuses %s', async (constraint, columns) => {
  const { jobId } = await create();
  await expect(
    h.dataSource.query(`UPDATE video_jobs SET ${columns} WHERE "jobId" = $1`, [jobId]),
  ).rejects.toMatchObject({ driverError: { constraint } });
});
