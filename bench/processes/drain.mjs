// A worker process. When it gets a number, it waits until it has completed that many jobs in all, and answers with the
// memory that it uses. When it gets 0, it ends.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { setTimeout as sleep } from 'node:timers/promises';
import { FrameForgeDatabaseModule } from '../../dist/index.js';
import {
  FrameForgeWorker,
  FrameForgeWorkerModule,
  VideoJobProcessor,
} from '../../dist/worker/index.js';

class Handler {
  async process() {
    return { resultUrl: 's3://frames/holiday/0001.zip', frameCount: 1_440 };
  }
}
VideoJobProcessor({ concurrency: 100 })(Handler);
class AppModule {}
Module({
  imports: [
    FrameForgeDatabaseModule.forRoot({ url: process.env.DATABASE_URL, poolSize: 16 }),
    FrameForgeWorkerModule.forRoot({ pollMs: 50 }),
  ],
  providers: [Handler],
})(AppModule);

const MB = 1024 * 1024;
const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
const worker = app.get(FrameForgeWorker);
process.on('message', async (jobs) => {
  if (jobs === 0) {
    await app.close();
    process.disconnect();
    return;
  }
  while (worker.stats().counts['jobs.completed'] < jobs) await sleep(10);
  // The second collection, after a pause, frees what finalizers have released.
  for (let i = 0; i < 2; i += 1) {
    globalThis.gc();
    await sleep(100);
  }
  const { rss, heapUsed } = process.memoryUsage();
  process.send({ rssMb: rss / MB, heapMb: heapUsed / MB });
});
process.send('ready');
