import 'reflect-metadata';
import { TypeOrmModule } from '@nestjs/typeorm';
import { frameForgeEntities } from '../../build/schema/entities/index.js';
import { bootApplication } from './boot-application.mjs';

await bootApplication([
  TypeOrmModule.forRoot({
    type: 'postgres',
    url: process.env.DATABASE_URL,
    entities: frameForgeEntities,
    uuidExtension: 'pgcrypto',
    installExtensions: false,
  }),
  TypeOrmModule.forFeature(frameForgeEntities),
]);
