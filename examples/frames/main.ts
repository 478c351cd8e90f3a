import 'reflect-metadata';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import { openDatabase } from '../demo/database.js';
import { failWith, Narrator } from '../demo/narrator.js';
import { AppModule } from './app.module.js';
import { Mailbox } from './mailbox.js';
import { serve } from './serve.js';
import { tell } from './story.js';

async function main(): Promise<void> {
  const start = performance.now();
  const narrator = new Narrator();
  const database = await openDatabase();
  const mailbox = new Mailbox();
  const folder = await mkdtemp(join(tmpdir(), 'frameforge-frames-'));
  try {
    narrator.title(`FrameForge on ${database.description}, with ffmpeg and SMTP`);
    const settings = { database, smtpUrl: await mailbox.open(), storageFolder: folder };
    if (process.argv.includes('--serve')) {
      await serve(settings);
      return;
    }
    const app = await NestFactory.createApplicationContext(AppModule.with(settings), {
      logger: ['error'],
      abortOnError: false,
    });
    app.enableShutdownHooks();
    try {
      await tell(app, mailbox, folder, narrator);
    } finally {
      await app.close();
    }
  } finally {
    await mailbox.close();
    await rm(folder, { recursive: true });
    await database.close();
  }
  narrator.end((performance.now() - start) / 1000);
}

try {
  await main();
} catch (error) {
  failWith(error);
}
