// A worker for the chaos test. It boots when the parent process asks for it. The filename of a job tells the worker
// what to do (see producer.ts).
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import {
  FrameForgeWorkerModule,
  NotificationDeliverer,
  UnrecoverableJobError,
  VideoJobProcessor,
} from '../../src/worker/index.js';
import type {
  JobOutcome,
  NotificationHandler,
  VideoJobHandler,
  WorkContext,
} from '../../src/worker/index.js';
import { LEASE_MS, REPLY_TIMEOUT_MS } from './settings.js';
import type { Kind } from './settings.js';

process.on('disconnect', () => process.exit());

@Injectable()
@VideoJobProcessor({ concurrency: 8 })
class Extractor implements VideoJobHandler {
  async process(job: VideoJob, { signal }: WorkContext): Promise<JobOutcome> {
    const [kind, ms] = job.filename.split(':') as [Kind, string];
    await sleep(Number(ms), undefined, { signal });
    if (kind === 'broken') throw new Error('it does not work');
    if (kind === 'unrecoverable') throw new UnrecoverableJobError('no video stream');
    if (kind === 'flaky' && Math.random() < 0.5) throw new Error('not this time');
    // The result contains its run number, so that the ledger can detect a result of another run.
    const result = { resultUrl: `s3://frames/${job.jobId}.zip`, frameCount: job.runNumber };
    if (kind !== 'write') return result;
    return async (manager) => {
      const values = [job.jobId, job.runNumber];
      await manager.query('INSERT INTO own_writes VALUES ($1, $2)', values);
      await sleep(Math.random() * 50);
      return result;
    };
  }
}

/** The provider accepts a message, and may then still fail, as real providers do. */
@Injectable()
@NotificationDeliverer({ concurrency: 2 })
class Mailer implements NotificationHandler {
  constructor(private readonly provider: DataSource) {}

  async deliver({ notificationId }: NotificationLog): Promise<void> {
    if (Math.random() < 0.05) throw new Error('the provider refuses');
    await this.provider.query('INSERT INTO inbox VALUES ($1)', [notificationId]);
    if (Math.random() < 0.02) throw new Error('the answer of the provider was lost');
  }
}

@Module({
  imports: [
    FrameForgeDatabaseModule.forRoot({
      url: process.env['CHAOS_URL'] ?? '',
      replyTimeoutMs: REPLY_TIMEOUT_MS,
    }),
    FrameForgeWorkerModule.forRoot({
      leaseMs: LEASE_MS,
      backoff: { baseMs: 50, maxMs: 500 },
      deliveryLeaseMs: 5_000,
      deliveryBackoff: { baseMs: 50, maxMs: 500 },
      maxDeliveryAttempts: 1_000,
      shutdownMs: 5_000,
    }),
  ],
  providers: [Extractor, Mailer],
})
class Service {}

process.once('message', async () => {
  const app = await NestFactory.createApplicationContext(Service, { logger: false });
  app.enableShutdownHooks();
  process.send?.('ready');
});
process.send?.('loaded');
