import { randomUUID } from 'node:crypto';
import {
  frameForgeMigrations,
  InvalidInputError,
  JobService,
  LeaseLostError,
  NotificationService,
  UserNotFoundError,
} from '@frameforge/shared-types';
import type { NotificationLog, User, VideoJob } from '@frameforge/shared-types';
import type { INestApplicationContext } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Narrator } from './narrator.js';
import { UploadService } from './upload.service.js';

/** Shows the life of a few jobs that are claimed by hand, and checks each statement in the database. */
export class Story {
  private readonly jobs: JobService;
  private readonly notifications: NotificationService;
  private readonly uploads: UploadService;
  private readonly dataSource: DataSource;

  constructor(
    app: INestApplicationContext,
    private readonly narrator: Narrator,
  ) {
    this.jobs = app.get(JobService);
    this.notifications = app.get(NotificationService);
    this.uploads = app.get(UploadService);
    this.dataSource = app.get(DataSource);
  }

  async tell(): Promise<void> {
    await this.migrated();
    const user = await this.registers();
    await this.completes(await this.competes(await this.creates(user)), user);
    await this.fails(user);
    await this.isRefused(user);
    await this.isRolledBack(user);
    await this.isFencedOff(user);
  }

  private async migrated(): Promise<void> {
    this.narrator.chapter('A Nest application boots');
    const agree = (await this.dataSource.driver.createSchemaBuilder().log()).upQueries.length === 0;
    const { schema } = this.dataSource.options as { schema: string };
    const rows: { name: string }[] = await this.dataSource.query(
      `SELECT name FROM "${schema}".migrations ORDER BY id`,
    );
    const names = frameForgeMigrations.map((Migration) => Migration.name);
    this.narrator.claim(
      `ran ${rows.length} migrations; the tables match the entities`,
      agree && names.every((name) => rows.some((row) => row.name === name)),
    );
  }

  private async registers(): Promise<User> {
    this.narrator.chapter('Ada registers, and uploads a video');
    const user = await this.uploads.register('ada');
    this.narrator.claim(
      `the user is ${user.username} <${user.email}>; her JSON does not contain the password hash`,
      !JSON.stringify(user).includes('argon2'),
    );
    return user;
  }

  private async creates({ userId }: User): Promise<VideoJob> {
    const job = await this.uploads.upload(userId, 'cat.mp4');
    const stored = await this.jobs.getJob(job.jobId, { userId });
    this.narrator.claim(
      `the job of ${stored.filename} is ${stored.status}`,
      stored.status === 'pending',
    );
    return job;
  }

  private async competes({ jobId }: VideoJob): Promise<VideoJob> {
    this.narrator.chapter('Two workers claim the job at once, and one of them completes it');
    const workers = ['worker-1', 'worker-2'];
    const claims = await Promise.all(
      workers.map((workerId) => this.jobs.claimJobs({ workerId, limit: 1 })),
    );
    const winner = claims.flat()[0];
    if (winner === undefined) throw new Error('Nobody got the job.');
    this.narrator.claim(
      `one worker gets the job, as its run number ${winner.runNumber}; the other worker gets nothing`,
      claims.flat().length === 1 && winner.jobId === jobId,
    );
    return winner;
  }

  private async completes(run: VideoJob, user: User): Promise<void> {
    const result = { resultUrl: 's3://frames/cat.zip', frameCount: 240 };
    const { job } = await this.jobs.completeJob(run, result);
    const [told, ...more] = await this.notificationsOf(job);
    this.narrator.claim(
      `the job is ${job.status} with ${job.frameCount} frames; the same transaction wrote the notification "${told?.notificationType}"`,
      job.status === 'completed' &&
        more.length === 0 &&
        told?.notificationType === 'success' &&
        told.recipientEmail === user.email,
    );
  }

  private async fails({ userId }: User): Promise<void> {
    this.narrator.chapter('Another job fails');
    await this.uploads.upload(userId, 'notes.txt');
    const [run] = await this.jobs.claimJobs({ limit: 1 });
    if (run === undefined) throw new Error('There was no job to claim.');
    const { job } = await this.jobs.failJob(run, { errorMessage: 'no video stream found' });
    const [told, ...more] = await this.notificationsOf(job);
    this.narrator.claim(
      `${job.filename} is ${job.status} ("${job.errorMessage}"), with the notification "${told?.notificationType}"`,
      job.status === 'failed' && more.length === 0 && told?.notificationType === 'failure',
    );
  }

  private async isRefused({ userId }: User): Promise<void> {
    this.narrator.chapter('Invalid jobs are refused');
    const before = await this.countAll();
    const nobody = await errorOf(this.uploads.upload(randomUUID(), 'cat.mp4'));
    this.narrator.claim(
      `a job for a user who does not exist is refused with ${nameOf(nobody)}`,
      nobody instanceof UserNotFoundError,
    );
    const noUrl = await errorOf(
      this.jobs.createJob({ userId, filename: '', videoUrl: 'cat video' }),
    );
    const problems = noUrl instanceof InvalidInputError ? noUrl.problems : [];
    this.narrator.claim(
      `a job without a file name and without a valid URL is refused with ${nameOf(noUrl)}; nothing is written`,
      problems.map(({ property }) => property).join() === 'filename,videoUrl' &&
        (await this.countAll()) === before,
    );
  }

  private async isRolledBack({ userId }: User): Promise<void> {
    this.narrator.chapter(
      'A transaction creates two jobs and is rolled back, because a payment is declined',
    );
    const before = await this.countAll();
    let inside = 0;
    const error = await errorOf(
      this.uploads.uploadPaid(userId, ['dog.mp4', 'bird.mp4'], async () => {
        inside = await this.countAll();
        throw new Error('The payment was declined.');
      }),
    );
    this.narrator.claim(
      `the error is "${(error as Error).message}"; no other connection ever saw the two jobs, and they do not exist`,
      (error as Error).message === 'The payment was declined.' &&
        inside === before &&
        (await this.countAll()) === before,
    );
  }

  private async isFencedOff({ userId }: User): Promise<void> {
    this.narrator.chapter('A worker hangs, and another worker takes over its job');
    const { jobId } = await this.uploads.upload(userId, 'dog.mp4');
    const late = await this.claim(jobId, 'worker-1', 1);
    this.narrator.claim(
      `${late.workerId} claims ${late.filename} as run ${late.runNumber}, and hangs until its lease has ended`,
      late.runNumber === 1,
    );
    const next = await this.claim(jobId, 'worker-2', 30_000);
    this.narrator.claim(
      `${next.workerId} claims the same job, as run ${next.runNumber}`,
      next.runNumber === 2,
    );
    const wrong = { resultUrl: 's3://frames/half-a-dog.zip', frameCount: 7 };
    const error = await errorOf(this.jobs.completeJob(late, wrong));
    this.narrator.claim(
      `${late.workerId} goes on, and tries to complete run ${late.runNumber}: it gets ${nameOf(error)}, and nothing is written`,
      error instanceof LeaseLostError && (await this.jobs.getJob(jobId)).status === 'processing',
    );
    const right = { resultUrl: 's3://frames/dog.zip', frameCount: 90 };
    const { job } = await this.jobs.completeJob(next, right);
    this.narrator.claim(
      `${next.workerId} completes run ${next.runNumber} with ${job.frameCount} frames and one notification`,
      job.frameCount === 90 && (await this.notificationsOf(job)).length === 1,
    );
  }

  /** Claims again and again until it gets the job, because another lease may have to end first. */
  private async claim(jobId: string, workerId: string, leaseMs: number): Promise<VideoJob> {
    for (;;) {
      const [job] = await this.jobs.claimJobs({ workerId, leaseMs, limit: 1 });
      if (job?.jobId === jobId) return job;
    }
  }

  private async notificationsOf({ jobId }: VideoJob): Promise<NotificationLog[]> {
    return (await this.notifications.listNotifications({ jobId })).notifications;
  }

  /** Jobs and notifications in the database. */
  private async countAll(): Promise<number> {
    const { jobs } = await this.jobs.listJobs({ limit: 1000 });
    const { notifications } = await this.notifications.listNotifications({ limit: 1000 });
    return jobs.length + notifications.length;
  }
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : 'no error');

/** Returns the error of a call, or undefined if the call succeeds. */
async function errorOf(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
    return undefined;
  } catch (error) {
    return error;
  }
}
