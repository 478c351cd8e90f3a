// npm run demo:console: a day of made-up work, a worker that goes on with it, and the console on a free port.
import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { NestFactory } from '@nestjs/core';
import { JobService, User } from '@frameforge/shared-types';
import type { INestApplication } from '@nestjs/common';
import { openDatabase } from '../demo/database.js';
import { AppModule } from './app.module.js';
import { makeUpADay } from './made-up.day.js';

/** The average time between two uploads, in ms. */
const UPLOAD_MS = 1_500;

const database = await openDatabase();
const app = await NestFactory.create(AppModule.on(database), { logger: ['error'] });
const jobs = app.get(JobService);
const ended = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort());
try {
  await makeUpADay(jobs.dataSource, { jobs: 5_000 });
  await app.listen(0, '127.0.0.1');
  process.stdout.write(`The console is at ${await app.getUrl()}/frameforge (Ctrl+C ends it)\n`);
  await upload(app);
} finally {
  await app.close();
  await database.close();
}

/** Uploads videos until the demonstration ends. */
async function upload(on: INestApplication): Promise<void> {
  const users = await jobs.dataSource.getRepository(User).find({ take: 40 });
  for (let count = 1; !ended.signal.aborted; count += 1) {
    const { userId } = users[count % users.length] as User;
    const filename = `upload-${count}.mp4`;
    await on.get(JobService).createJob({ userId, filename, videoUrl: `s3://videos/${filename}` });
    const wait = Math.random() * 2 * UPLOAD_MS;
    await sleep(wait, undefined, { signal: ended.signal }).catch(() => {});
  }
}
