import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { openDatabase } from './database.js';
import { failWith, Narrator } from './narrator.js';
import { Story } from './story.js';

async function main(): Promise<void> {
  const start = performance.now();
  const narrator = new Narrator();
  const database = await openDatabase();
  try {
    narrator.title(`FrameForge on ${database.description}`);
    const app = await NestFactory.createApplicationContext(AppModule.on(database), {
      logger: ['error', 'warn'],
      abortOnError: false,
    });
    try {
      await new Story(app, narrator).tell();
    } finally {
      await app.close();
    }
  } finally {
    await database.close();
  }
  narrator.end((performance.now() - start) / 1000);
}

try {
  await main();
} catch (error) {
  failWith(error);
}
