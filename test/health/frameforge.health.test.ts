import { Controller, Get, Injectable, Module } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { HealthCheckService, TerminusModule } from '@nestjs/terminus';
import type { HealthCheckResult } from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import { getDataSourceToken } from '@nestjs/typeorm';
import request from 'supertest';
import type { DataSource } from 'typeorm';
import { FrameForgeHealthIndicator } from '../../src/health/index.js';
import { FrameForgeDatabaseModule } from '../../src/index.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase } from '../support/server.js';

let databases: TestDatabase[];
let proxy: Proxy;
let app: INestApplication;

@Controller('health')
@Injectable()
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly database: FrameForgeHealthIndicator,
  ) {}

  @Get()
  check(): Promise<HealthCheckResult> {
    return this.health.check([
      () => this.database.check('database', { timeoutMs: 500 }),
      () => this.database.check('archive', { dataSource: 'archive' }),
    ]);
  }
}

@Module({
  imports: [TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController],
  providers: [FrameForgeHealthIndicator],
})
class HealthModule {}

beforeAll(async () => {
  databases = await Promise.all([createDatabase(), createDatabase()]);
  const [main, archive] = databases as [TestDatabase, TestDatabase];
  proxy = await Proxy.start(main.url);
  const testing = await Test.createTestingModule({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url: proxy.url, poolSize: 2, connectTimeoutMS: 5000 }),
      FrameForgeDatabaseModule.forRoot({ name: 'archive', url: archive.url, poolSize: 3 }),
      HealthModule,
    ],
  }).compile();
  testing.useLogger(false);
  app = await testing.createNestApplication().init();
});
afterAll(async () => {
  await app.close();
  await proxy.stop();
  await Promise.all(databases.map((database) => database.drop()));
});

const health = (): request.Test => request(app.getHttpServer()).get('/health');

it('is up, with the use of the pool and nothing pending', async () => {
  const response = await health();
  expect(response.status).toBe(200);
  expect(response.body).toMatchObject({
    status: 'ok',
    details: {
      database: {
        status: 'up',
        pool: { max: 2, open: 1, used: 0, waiting: 0 },
        pendingMigrations: [],
      },
      archive: { status: 'up', pool: { max: 3 } },
    },
  });
});

it('is degraded while migrations of this release are pending', async () => {
  const [main] = databases as [TestDatabase];
  const name = 'CreateNotificationLogTable1700000003000';
  await query(main.url, `UPDATE migrations SET name = 'x' || name WHERE name = '${name}'`);
  const response = await health();
  await query(main.url, `UPDATE migrations SET name = '${name}' WHERE name = 'x${name}'`);
  expect(response.status).toBe(200);
  expect(response.body).toMatchObject({
    status: 'degraded',
    details: {
      database: {
        status: 'degraded',
        message: 'Migrations of this release are pending: npx frameforge-db migrate',
        pendingMigrations: [name],
      },
    },
  });
});

it('is down by timeout when the pool is exhausted, and shows that it is', async () => {
  const dataSource = app.get<DataSource>(getDataSourceToken());
  const holders = [dataSource.createQueryRunner(), dataSource.createQueryRunner()];
  await Promise.all(holders.map((holder) => holder.connect()));
  const response = await health();
  await Promise.all(holders.map((holder) => holder.release()));
  expect(response.status).toBe(503);
  expect(response.body).toMatchObject({
    details: {
      database: {
        status: 'down',
        message: 'The database did not answer within 500 ms',
        pool: { max: 2, open: 2, used: 2, waiting: 1 },
      },
      archive: { status: 'up' },
    },
  });
});

it('is down while the database is away, and up again after it', async () => {
  const port = Number(new URL(proxy.url).port);
  await proxy.stop();
  const response = await health();
  expect(response.status).toBe(503);
  expect(response.body).toMatchObject({
    status: 'error',
    details: {
      database: {
        status: 'down',
        message: expect.stringMatching(/^The health check could not reach the database: /),
      },
      archive: { status: 'up' },
    },
  });
  expect(JSON.stringify(response.body)).not.toContain(new URL(proxy.url).password);
  proxy = await Proxy.start((databases[0] as TestDatabase).url, port);
  expect((await health()).status).toBe(200);
});
