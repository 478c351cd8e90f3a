import { FrameForgeDatabaseModule } from '@frameforge/shared-types';
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
} from '@frameforge/shared-types/worker';
import { Injectable, Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { ShardedJobs } from './sharded.jobs.js';
import { SHARDS } from './shards.js';
import type { Shard } from './shards.js';

@Injectable()
@VideoJobProcessor({ concurrency: 2 })
export class FrameExtractor implements VideoJobHandler {
  async process({ jobId }: VideoJob): Promise<JobOutcome> {
    return { resultUrl: `s3://frames/${jobId}.zip`, frameCount: 1 };
  }
}

@Injectable()
@NotificationDeliverer()
export class Mailer implements NotificationHandler {
  readonly sent: NotificationLog[] = [];

  async deliver(notification: NotificationLog): Promise<void> {
    this.sent.push(notification);
  }
}

/** One application on all shards, with a worker for each. The workers can also be separate processes. */
@Module({})
export class AppModule {
  /** @param urls - the URL of the database of each shard */
  static on(urls: Readonly<Record<Shard, string>>): DynamicModule {
    return {
      module: AppModule,
      imports: SHARDS.flatMap((name) => [
        FrameForgeDatabaseModule.forRoot({ name, url: urls[name] }),
        FrameForgeWorkerModule.forRoot({ dataSource: name }),
      ]),
      providers: [ShardedJobs, FrameExtractor, Mailer],
    };
  }
}
