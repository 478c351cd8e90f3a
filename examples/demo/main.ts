import 'reflect-metadata';
import type { DynamicModule, INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { BackgroundStory } from './background.story.js';
import { openDatabase } from './database.js';
import { failWith, Narrator } from './narrator.js';
import { Story } from './story.js';
import { WorkerModule } from './worker.module.js';

async function main(teller: Narrator): Promise<void> {
  const start = performance.now();
  const database = await openDatabase();
  try {
    teller.title(`FrameForge on ${database.description}`);
    await within(AppModule.on(database), (app) => new Story(app, teller).tell());
    await within(WorkerModule.on(database), (app) => new BackgroundStory(app, teller).tell());
  } finally {
    await database.close();
  }
  teller.end((performance.now() - start) / 1000);
}

/** Boots the application, tells its story, and ends it in any case. */
async function within(
  module: DynamicModule,
  tell: (app: INestApplicationContext) => Promise<void>,
): Promise<void> {
  const app = await NestFactory.createApplicationContext(module, {
    logger: ['error'],
    abortOnError: false,
  });
  try {
    await tell(app);
  } finally {
    await app.close();
  }
}

const narrator = new Narrator();
try {
  await main(narrator);
} catch (error) {
  narrator.stop();
  failWith(error);
}
