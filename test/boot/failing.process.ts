// A usual service, with Nest's own logger and without special handling of a failed boot.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FrameForgeDatabaseModule } from '../../src/index.js';
import { migration } from '../connection/boot.js';

const broken = migration('Broken1800000000000', (runner) => runner.query('SELECT * FROM nowhere'));

@Module({
  imports: [
    FrameForgeDatabaseModule.forRoot({
      migrations: process.argv.includes('broken') ? [broken] : [],
      connectRetryMs: 1500,
      logging: ['error', 'warn', 'migration'],
    }),
  ],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule);
await app.close();
