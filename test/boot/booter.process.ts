// A replica: a process that boots a Nest application as often as its parent asks, and reports the result of each boot.
// One process makes many boots, so that the boots of many replicas can begin at one instant.
import 'reflect-metadata';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { frameForgeEntities, VideoJob } from '../../src/schema/entities/index.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { HOST_MIGRATIONS } from './booter.migrations.js';
import type { Order, Outcome } from './replica.js';

/** The root module of the application. */
const MODULES: Record<Order['kind'], (order: Order) => DynamicModule> = {
  ours: ({ kind, migrations = 'none', ...options }) =>
    FrameForgeDatabaseModule.forRoot({ ...options, migrations: [...HOST_MIGRATIONS[migrations]] }),
  // It has the same entities, migrations and options, but TypeORM opens the data source.
  plain: ({ url }) =>
    TypeOrmModule.forRoot({
      type: 'postgres',
      url,
      entities: frameForgeEntities,
      migrations: frameForgeMigrations,
      migrationsRun: true,
      retryAttempts: 1,
      installExtensions: false,
      uuidExtension: 'pgcrypto',
    }),
};

async function boot(order: Order): Promise<Outcome> {
  process.send?.({ step: 0 });
  try {
    const app = await NestFactory.createApplicationContext(MODULES[order.kind](order), {
      logger: false,
      abortOnError: false,
    });
    // The application must also be able to query the database.
    await app.get(DataSource).getRepository(VideoJob).count();
    await app.close();
    return { booted: true };
  } catch (error) {
    return { booted: false, reason: (error as Error).message };
  }
}

process.on('message', (order: Order) => {
  void boot(order).then((outcome) => process.send?.(outcome));
});
// The parent process has ended.
process.on('disconnect', () => process.exit());
process.send?.({ ready: true });
