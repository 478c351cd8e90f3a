// This process closes its application. It must then end by itself, with the exit code 0.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FrameForgeDatabaseModule, JobService } from '../../src/index.js';

@Module({ imports: [FrameForgeDatabaseModule.forRoot({ poolSize: 5 })] })
class AppModule {}

try {
  const app = await NestFactory.createApplicationContext(AppModule, {
    logger: false,
    abortOnError: false,
  });
  const jobs = app.get(JobService);
  await Promise.all(Array.from({ length: 5 }, () => jobs.countJobs()));
  await app.close();
  process.stdout.write('closed');
} catch (error) {
  process.stdout.write((error as Error).message);
}
