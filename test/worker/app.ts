import { Injectable, Module } from '@nestjs/common';
import type { INestApplicationContext, LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import {
  FrameForgeWorkerModule,
  NotificationDeliverer,
  VideoJobProcessor,
} from '../../src/worker/index.js';
import type {
  DeliveryContext,
  FrameForgeWorkerOptions,
  JobContext,
  JobOutcome,
  NotificationHandler,
  VideoJobHandler,
} from '../../src/worker/index.js';

export const RESULT = { resultUrl: 's3://frames/1.zip', frameCount: 3 };

/** The handlers of the application. The default ones succeed. */
export interface Behaviour {
  readonly process?: (job: VideoJob, context: JobContext) => Promise<JobOutcome>;
  readonly deliver?: (notification: NotificationLog, context: DeliveryContext) => Promise<void>;
  /** Jobs at once; 4 if left out. */
  readonly concurrency?: number;
  readonly database?: FrameForgeDatabaseOptions;
  readonly logger?: LoggerService;
}

/** Boots a Nest application with a worker in this process. */
export function bootWorker(
  url: string,
  behaviour: Behaviour = {},
  options: FrameForgeWorkerOptions = {},
): Promise<INestApplicationContext> {
  @Injectable()
  @VideoJobProcessor({ concurrency: behaviour.concurrency ?? 4 })
  class Extractor implements VideoJobHandler {
    process(job: VideoJob, context: JobContext): Promise<JobOutcome> {
      return (behaviour.process ?? (() => Promise.resolve(RESULT)))(job, context);
    }
  }
  @Injectable()
  @NotificationDeliverer({ concurrency: 2 })
  class Mailer implements NotificationHandler {
    deliver(notification: NotificationLog, context: DeliveryContext): Promise<void> {
      return (behaviour.deliver ?? (() => Promise.resolve()))(notification, context);
    }
  }
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url, ...behaviour.database }),
      FrameForgeWorkerModule.forRoot({ backoff: { baseMs: 10, maxMs: 50 }, ...options }),
    ],
    providers: [Extractor, Mailer],
  })
  class App {}
  return NestFactory.createApplicationContext(App, { logger: behaviour.logger ?? false });
}
