import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { FrameForgeDatabaseModule } from '../../dist/index.js';

const imported = performance.now();
const app = await NestFactory.createApplicationContext(FrameForgeDatabaseModule.forRoot(), {
  logger: ['error'],
  abortOnError: false,
});
const ready = performance.now();
process.send({ readyMs: ready, applicationMs: ready - imported });
await app.close();
process.disconnect();
