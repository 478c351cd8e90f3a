import { Injectable } from '@nestjs/common';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import { createTestingApp, userFixture, waitForJob, workOff } from '../../src/testing/index.js';
import type { TestingApp } from '../../src/testing/index.js';
import {
  FrameForgeWorkerModule,
  NotificationDeliverer,
  RetryJobError,
  UnrecoverableJobError,
  VideoJobProcessor,
} from '../../src/worker/index.js';
import { until } from '../support/until.js';
import type { JobOutcome, NotificationHandler, VideoJobHandler } from '../../src/worker/index.js';

const RESULT = { resultUrl: 's3://frames/1.zip', frameCount: 3 };
/** This is so long that the worker finds no job by polling. */
const worker = FrameForgeWorkerModule.forRoot({ pollMs: 600_000, shutdownMs: 100 });

@Injectable()
@VideoJobProcessor({ concurrency: 2 })
class Extractor implements VideoJobHandler {
  constructor(private readonly jobs: JobService) {}

  async process({ filename, userId, videoUrl, runNumber }: VideoJob): Promise<JobOutcome> {
    if (filename === 'broken') throw new UnrecoverableJobError('no video stream');
    if (filename === 'later') throw new RetryJobError({ inMs: 3_600_000, message: 'Not today.' });
    if (filename === 'again' && runNumber === 1) throw new RetryJobError({ inMs: 0 });
    if (filename === 'hangs') await new Promise(() => {});
    if (filename === 'parent') await this.jobs.createJob({ filename: 'child', userId, videoUrl });
    return RESULT;
  }
}

@Injectable()
@NotificationDeliverer()
class Mailer implements NotificationHandler {
  readonly sent: string[] = [];

  async deliver({ jobId }: NotificationLog): Promise<void> {
    this.sent.push(jobId);
  }
}

async function boot(...providers: (typeof Extractor | typeof Mailer)[]): Promise<TestingApp> {
  return createTestingApp({ imports: [worker], providers });
}

async function create(app: TestingApp, ...filenames: string[]): Promise<VideoJob[]> {
  const jobs = app.get(JobService);
  const { userId } = await userFixture().persist(jobs.dataSource);
  const videoUrl = 's3://videos/cat.mp4';
  return jobs.createJobs(filenames.map((filename) => ({ userId, filename, videoUrl })));
}

it('runs all due jobs, the jobs that these create, and the deliveries', async () => {
  await using app = await boot(Extractor, Mailer);
  await workOff(app);
  const jobs = await create(app, 'good', 'broken', 'parent', 'again', 'later');
  await workOff(app);
  const { userId } = jobs[0]!;
  expect(await app.get(JobService).countJobs({ userId })).toEqual({
    pending: 1,
    processing: 0,
    completed: 4,
    failed: 1,
  });
  expect(app.get(Mailer).sent).toHaveLength(5);
  // This job is created as by another process or by hand, so the worker gets no wake-up.
  const { dataSource } = app.get(JobService);
  await dataSource.query(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl") VALUES ($1, 'good', 's3://a/b')`,
    [userId],
  );
  await workOff(app);
  expect(app.get(Mailer).sent).toHaveLength(6);
  const { notifications } = await app.get(NotificationService).listNotifications({ userId });
  expect(new Set(notifications.map(({ deliveryStatus }) => deliveryStatus))).toEqual(
    new Set(['sent']),
  );
});

it('does not wait for work that the application does not do', async () => {
  await using app = await boot(Extractor);
  const [job] = await create(app, 'good');
  await workOff(app);
  expect(await waitForJob(app, job!.jobId)).toMatchObject({ status: 'completed' });
});

it('reports what is left when the time is over', async () => {
  const app = await boot(Extractor, Mailer);
  const [job, other] = await create(app, 'hangs', 'later');
  const jobs = app.get(JobService);
  await until(async () => {
    const [one, two] = [await jobs.getJob(job!.jobId), await jobs.getJob(other!.jobId)];
    return one.status === 'processing' && two.errorMessage !== null;
  });
  await expect(workOff(app, { timeoutMs: 300 })).rejects.toThrow(
    'After 300 ms, 1 jobs and 0 deliveries are still due or at work.',
  );
  await expect(waitForJob(app, job!.jobId, { timeoutMs: 100 })).rejects.toThrow(
    `After 100 ms, job ${job!.jobId} is processing (attempt 1)`,
  );
  await expect(waitForJob(app, other!.jobId, { timeoutMs: 100 })).rejects.toThrow(
    `After 100 ms, job ${other!.jobId} is pending (attempt 0); its latest error is: Not today.`,
  );
  await jobs.cancelJob(job!.jobId);
  await jobs.pauseProcessing();
  await create(app, 'good');
  await expect(workOff(app, { timeoutMs: 300 })).rejects.toThrow(/Processing is paused\.$/);
  await app.close();
});

it('waitForJob needs a job, and workOff a worker', async () => {
  await using app = await createTestingApp();
  await expect(waitForJob(app, '00000000-0000-0000-0000-000000000000')).rejects.toMatchObject({
    code: 'JOB_NOT_FOUND',
  });
  await expect(workOff(app)).rejects.toThrow(
    'The application has no FrameForgeWorker. Import FrameForgeWorkerModule in it.',
  );
});
