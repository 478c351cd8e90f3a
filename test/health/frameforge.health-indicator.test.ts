import { Controller, Get, Module } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  HealthCheck,
  HealthCheckService,
  HealthIndicatorService,
  TerminusModule,
} from '@nestjs/terminus';
import request from 'supertest';
import type { App } from 'supertest/types.js';
import { DataSource } from 'typeorm';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { resolveOptions } from '../../src/database.options.js';
import { FrameForgeHealthIndicator } from '../../src/health/index.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { Proxy } from '../support/proxy.js';
import { createDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';

/** The limit of a check, in ms. A check that must succeed has as long as a busy machine may need. */
const PATIENT = 30_000;
let timeoutMs = PATIENT;

@Controller()
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly database: FrameForgeHealthIndicator,
  ) {}

  @Get('health')
  @HealthCheck()
  check() {
    return this.health.check([() => this.database.isHealthy('database', { timeoutMs })]);
  }

  @Get('queues')
  @HealthCheck()
  queues() {
    return this.health.check([
      () => this.database.isHealthy('database', { timeoutMs, queues: true }),
    ]);
  }
}

let database: TestDatabase;
let proxy: Proxy;
let app: INestApplication<App>;

async function boot(migrationsRun: boolean): Promise<void> {
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url: proxy.url, poolSize: 2, migrationsRun }),
      TerminusModule.forRoot({ logger: false }),
    ],
    controllers: [HealthController],
    providers: [FrameForgeHealthIndicator],
  })
  class AppModule {}
  const testing = await Test.createTestingModule({ imports: [AppModule] })
    .setLogger({ log() {}, warn() {}, error() {} })
    .compile();
  app = testing.createNestApplication();
  await app.init();
}

beforeEach(async () => {
  timeoutMs = PATIENT;
  database = await createDatabase();
  proxy = await Proxy.start(database.url);
});

afterEach(async () => {
  await app.close();
  await proxy.stop();
  await database.drop();
});

it('is up, and shows the use of the pool and that no migration is pending', async () => {
  await boot(true);
  const { body } = await request(app.getHttpServer()).get('/health').expect(200);
  expect(body).toMatchObject({
    status: 'ok',
    info: { database: { status: 'up', pendingMigrations: [], pool: { max: 2, waiting: 0 } } },
  });
});

it('shows the queues if an option asks for it', async () => {
  await boot(true);
  const { body } = await request(app.getHttpServer()).get('/queues').expect(200);
  const none = { count: 0, more: false, oldest: null };
  expect(body).toMatchObject({
    info: { database: { queues: { jobs: none, lost: none, notifications: none } } },
  });
});

it('is up with pending migrations, as during a rolling deployment', async () => {
  await boot(false);
  const { body } = await request(app.getHttpServer()).get('/health').expect(200);
  const { pendingMigrations } = (body as { info: { database: { pendingMigrations: string[] } } })
    .info.database;
  expect(pendingMigrations).toContain('CreateUsersTable1700000001000');
  expect(pendingMigrations).toHaveLength(frameForgeMigrations.length);
});

it('is down while the database is silent, and up again after', async () => {
  await boot(true);
  proxy.silent = true;
  proxy.cut();
  timeoutMs = 500;
  const { body } = await request(app.getHttpServer()).get('/health').expect(503);
  expect(body).toMatchObject({
    error: { database: { status: 'down', message: 'The database does not answer.' } },
  });
  expect(JSON.stringify(body)).not.toContain('127.0.0.1');
  proxy.silent = false;
  proxy.cut();
  timeoutMs = PATIENT;
  await request(app.getHttpServer()).get('/health').expect(200);
});

it('is down while the pool has no free connection, and says so', async () => {
  await boot(true);
  const dataSource = app.get(DataSource);
  const busy = [dataSource.createQueryRunner(), dataSource.createQueryRunner()];
  await Promise.all(busy.map((queryRunner) => queryRunner.connect()));
  timeoutMs = 500;
  const { body } = await request(app.getHttpServer()).get('/health').expect(503);
  expect(body).toMatchObject({
    error: { database: { status: 'down', pool: { max: 2, open: 2, idle: 0, waiting: 1 } } },
  });
  await Promise.all(busy.map((queryRunner) => queryRunner.release()));
});

it('asks the data source that it is given, and says so if none is given', async () => {
  await boot(true);
  const archive = await createDatabase();
  const resolved = resolveOptions({ url: archive.url, migrationsRun: false });
  const dataSource = await openDataSource(resolved.dataSource, resolved.boot, {
    log() {},
    warn() {},
  });
  const indicator = app.get(FrameForgeHealthIndicator);
  const { archived } = await indicator.isHealthy('archived', { dataSource });
  expect(archived).toMatchObject({
    status: 'up',
    pendingMigrations: { length: frameForgeMigrations.length },
  });
  await dataSource.destroy();
  await archive.drop();
  const none = new FrameForgeHealthIndicator(new HealthIndicatorService());
  await expect(none.isHealthy('database')).rejects.toThrow(
    'FrameForgeHealthIndicator found no default data source: give isHealthy a `dataSource`.',
  );
});
