import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { frameForgeEntities } from '../../dist/schema/entities/index.js';

const imported = performance.now();
class AppModule {}
Module({
  imports: [
    TypeOrmModule.forRoot({
      type: 'postgres',
      url: process.env.DATABASE_URL,
      entities: frameForgeEntities,
      uuidExtension: 'pgcrypto',
      installExtensions: false,
    }),
    TypeOrmModule.forFeature(frameForgeEntities),
  ],
})(AppModule);
const app = await NestFactory.createApplicationContext(AppModule, {
  logger: ['error'],
  abortOnError: false,
});
const ready = performance.now();
process.send({ readyMs: ready, applicationMs: ready - imported });
await app.close();
process.disconnect();
