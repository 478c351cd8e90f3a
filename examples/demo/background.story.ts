import { setTimeout as sleep } from 'node:timers/promises';
import { JobService, NotificationService, User } from '@frameforge/shared-types';
import type { NotificationLog } from '@frameforge/shared-types';
import type { INestApplicationContext } from '@nestjs/common';
import { getRepositoryToken } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import type { Narrator } from './narrator.js';
import { UploadService } from './upload.service.js';
import { Mailer } from './worker.module.js';

/** Tells what a worker does, once the application has one. */
export class BackgroundStory {
  private readonly jobs: JobService;
  private readonly notifications: NotificationService;

  constructor(
    private readonly app: INestApplicationContext,
    private readonly narrator: Narrator,
  ) {
    this.jobs = app.get(JobService);
    this.notifications = app.get(NotificationService);
  }

  async tell(): Promise<void> {
    await this.isDone();
    await this.ledger();
  }

  private async isDone(): Promise<void> {
    this.narrator.chapter(
      'The application boots with a worker in the background, and Ada uploads a video',
    );
    const users = this.app.get<Repository<User>>(getRepositoryToken(User));
    const { userId } = await users.findOneByOrFail({ username: 'ada' });
    const { jobId } = await this.app.get(UploadService).upload(userId, 'owl.mp4');
    const all = await this.untilDelivered(jobId);
    const job = await this.jobs.getJob(jobId);
    const errors = await this.jobs.listAttemptErrors(jobId);
    this.narrator.claim(`attempt 1 fails: ${errors[0]?.errorMessage}`, errors.length === 1);
    this.narrator.claim(
      `attempt ${job.attempts} succeeds: ${job.filename} is ${job.status} with ${job.frameCount} frames`,
      job.attempts === 2 && job.status === 'completed' && job.frameCount === 120,
    );
    const { outbox } = this.app.get(Mailer);
    this.narrator.claim(
      `all ${outbox.length} notifications are delivered, including those of the earlier jobs`,
      outbox.length === all.length && all.every((one) => one.deliveryStatus === 'sent'),
    );
  }

  private async ledger(): Promise<void> {
    this.narrator.chapter('What is in the database now');
    const { jobs } = await this.jobs.listJobs();
    const lines: string[] = [];
    let pairs = true;
    for (const job of jobs.toReversed()) {
      const { notifications } = await this.notifications.listNotifications({ jobId: job.jobId });
      const types = notifications.map(({ notificationType }) => notificationType).join();
      const deliveries = notifications.map(({ deliveryStatus }) => deliveryStatus).join();
      pairs &&= types === (job.status === 'completed' ? 'success' : 'failure');
      lines.push(
        [job.filename.padEnd(10), job.status.padEnd(10), types.padEnd(8), deliveries].join(' '),
      );
    }
    this.narrator.claim(
      'every finished job has exactly one notification, and it matches the result of the job',
      pairs,
    );
    this.narrator.quote(lines);
  }

  /** Waits, but not for ever, for the job's notification and the delivery of all. @returns them */
  private async untilDelivered(jobId: string): Promise<NotificationLog[]> {
    for (let tries = 0; ; tries += 1) {
      const { notifications } = await this.notifications.listNotifications();
      const waiting = notifications.some(({ deliveryStatus }) => deliveryStatus === 'pending');
      const told = notifications.some((one) => one.jobId === jobId);
      if ((told && !waiting) || tries === 200) return notifications;
      await sleep(50);
    }
  }
}
