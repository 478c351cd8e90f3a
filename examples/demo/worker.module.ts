import type { NotificationLog, VideoJob } from '@frameforge/shared-types';
import {
  FrameForgeWorkerModule,
  NotificationDeliverer,
  VideoJobProcessor,
} from '@frameforge/shared-types/worker';
import type {
  JobOutcome,
  NotificationHandler,
  VideoJobHandler,
  WorkContext,
} from '@frameforge/shared-types/worker';
import { Injectable, Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { AppModule } from './app.module.js';

/** Replaces ffmpeg, which `npm run example:frames` shows. Its first attempt fails. */
@Injectable()
@VideoJobProcessor({ concurrency: 4 })
export class FrameExtractor implements VideoJobHandler {
  async process(job: VideoJob, { attempt }: WorkContext): Promise<JobOutcome> {
    if (attempt === 1) throw new Error('the storage did not answer');
    return { resultUrl: `s3://frames/${job.jobId}.zip`, frameCount: 120 };
  }
}

/** Replaces a mail server. */
@Injectable()
@NotificationDeliverer({ concurrency: 2 })
export class Mailer implements NotificationHandler {
  readonly outbox: NotificationLog[] = [];

  async deliver(notification: NotificationLog): Promise<void> {
    this.outbox.push(notification);
  }
}

/** The application with a worker, which finds the two classes above by their decorators. */
@Module({ providers: [FrameExtractor, Mailer] })
export class WorkerModule {
  static on(database: { url: string; schema: string }): DynamicModule {
    const backoff = { baseMs: 100, maxMs: 1_000 };
    return {
      module: WorkerModule,
      imports: [AppModule.on(database), FrameForgeWorkerModule.forRoot({ backoff })],
    };
  }
}
