import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { FrameForgeDatabaseModule } from '@frameforge/shared-types';
import type { JobResult, NotificationLog, VideoJob } from '@frameforge/shared-types';
import { FrameForgeConsoleModule } from '@frameforge/shared-types/console';
import {
  FrameForgeWorkerModule,
  NotificationDeliverer,
  VideoJobProcessor,
} from '@frameforge/shared-types/worker';
import type {
  NotificationHandler,
  VideoJobHandler,
  JobContext,
} from '@frameforge/shared-types/worker';

/** The longest time that the work on a video takes, in ms. */
const WORK_MS = 6_000;

/** Processes made-up videos: it waits, reports its progress, and sometimes fails. */
@Injectable()
@VideoJobProcessor({ concurrency: 4 })
class Extractor implements VideoJobHandler {
  async process({ jobId }: VideoJob, { signal, progress }: JobContext): Promise<JobResult> {
    for (let percent = 0; percent < 100; percent += 10) {
      progress(percent, `frame ${percent * 9}`);
      await sleep((Math.random() * WORK_MS) / 10, undefined, { signal });
      if (Math.random() < 0.015) throw new Error('The file has no video stream.');
    }
    return { resultUrl: `https://frames.example/${jobId}.zip`, frameCount: 900 };
  }
}

/** Sends nothing, and sometimes fails. */
@Injectable()
@NotificationDeliverer({ concurrency: 4 })
class Mailer implements NotificationHandler {
  async deliver({ recipientEmail }: NotificationLog): Promise<void> {
    await sleep(Math.random() * 300);
    if (Math.random() < 0.05) throw new Error(`451 ${recipientEmail} is busy: try again later.`);
  }
}

/** An application with a worker and the console. */
@Module({})
export class AppModule {
  static on(database: { url: string; schema: string }): DynamicModule {
    return {
      module: AppModule,
      imports: [
        FrameForgeDatabaseModule.forRoot({ url: database.url, schema: database.schema }),
        FrameForgeWorkerModule.forRoot({ maxAttempts: 3 }),
        // Only this machine can reach the demonstration. Your own application needs `guards`.
        FrameForgeConsoleModule.forRoot({ unguarded: true, actions: true }),
      ],
      providers: [Extractor, Mailer],
    };
  }
}
