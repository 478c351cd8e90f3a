import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Injectable, Module } from '@nestjs/common';
import type { INestApplication, Type } from '@nestjs/common';
import { ConfigModule, ConfigService, registerAs } from '@nestjs/config';
import type { ConfigType } from '@nestjs/config';
import { NestFactory } from '@nestjs/core';
import { Transport } from '@nestjs/microservices';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { FrameForgeDatabaseModule, JobService, RunTimeoutError } from '../../src/index.js';
import type { FrameForgeDatabaseOptions, JobResult } from '../../src/index.js';
import { FrameForgeWorkerModule, VideoJobProcessor } from '../../src/worker/index.js';
import type { VideoJobHandler, WorkContext } from '../../src/worker/index.js';
import { result, video } from '../jobs/fixtures.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
  // This connects to the server itself, because a pooler has sessions of its own.
  process.env['VIDEO_DATABASE_URL'] = onServer(h.url);
  process.env['VIDEO_CONCURRENCY'] = '3';
});
afterAll(async () => {
  delete process.env['VIDEO_DATABASE_URL'];
  delete process.env['VIDEO_CONCURRENCY'];
  await h.close();
});

@VideoJobProcessor({ concurrency: 1 })
@Injectable()
class Frames implements VideoJobHandler {
  running = 0;
  most = 0;
  ended: Error[] = [];

  /** A handler that ends when three of them run at once, or when its signal is aborted. */
  async process(_job: unknown, { signal }: WorkContext): Promise<JobResult> {
    this.running += 1;
    this.most = Math.max(this.most, this.running);
    while (this.most < 3 && !signal.aborted) await new Promise(setImmediate);
    this.running -= 1;
    if (signal.aborted) this.ended.push(signal.reason as Error);
    return result;
  }
}

/** Both modules read their options from the configuration of the application, each in one of the two possible ways. */
function modules(workerOptions: object = {}) {
  const databaseConfig = registerAs('database', (): FrameForgeDatabaseOptions => {
    const { VIDEO_DATABASE_URL: url = '' } = process.env;
    return { url, applicationName: 'videos' };
  });
  return [
    ConfigModule.forRoot({ isGlobal: true, ignoreEnvFile: true, load: [databaseConfig] }),
    FrameForgeDatabaseModule.forRootAsync({
      inject: [databaseConfig.KEY],
      useFactory: (config: ConfigType<typeof databaseConfig>) => config,
    }),
    FrameForgeWorkerModule.forRootAsync({
      inject: [ConfigService],
      useFactory: (config: ConfigService) => ({
        concurrency: Number(config.getOrThrow('VIDEO_CONCURRENCY')),
        pollMs: 20,
        ...workerOptions,
      }),
    }),
  ];
}

const appModule = (workerOptions?: object) => {
  @Module({ imports: modules(workerOptions), providers: [Frames] })
  class AppModule {}
  return AppModule;
};

const options = { logger: false, abortOnError: false } as const;

async function tcp(): Promise<MicroserviceOptions> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return { transport: Transport.TCP, options: { host: '127.0.0.1', port } };
}

type App = Pick<INestApplication, 'get' | 'close'>;

/** Each kind of application, started as its main.ts would do it. */
const KINDS: Record<string, (module: Type) => Promise<App>> = {
  'an application context': (module) => NestFactory.createApplicationContext(module, options),
  'an application on Express': async (module) => {
    const app = await NestFactory.create(module, options);
    await app.listen(0, '127.0.0.1');
    return app;
  },
  'an application on Fastify': async (module) => {
    const app = await NestFactory.create(module, new FastifyAdapter(), options);
    await app.listen(0, '127.0.0.1');
    return app;
  },
  'a microservice': async (module) => {
    const app = await NestFactory.createMicroservice(module, { ...(await tcp()), ...options });
    await app.listen();
    return app;
  },
  'a hybrid application': async (module) => {
    const app = await NestFactory.create(module, options);
    app.connectMicroservice(await tcp(), { inheritAppConfig: true });
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    return app;
  },
};

it.each(Object.keys(KINDS))(
  '%s works with options from its configuration, which replace those of the decorator',
  async (kind) => {
    const app = await KINDS[kind]!(appModule());
    try {
      const { userId } = await h.user();
      const inputs = Array.from({ length: 3 }, () => ({ ...video, userId }));
      await app.get(JobService).createJobs(inputs);
      await until(async () => (await h.jobs.countJobs({ userId })).completed === 3);
      expect(app.get<Frames>(Frames).most).toBe(3);
    } finally {
      await app.close();
    }
    // The server needs a moment to notice that the connections are closed.
    await until(async () => {
      const sessions = await h.dataSource.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'videos'`,
      );
      return sessions.length === 0;
    });
  },
);

it('the time limit of a run is an option', async () => {
  const app = await KINDS['an application context']!(appModule({ maxRunMs: 50, maxAttempts: 1 }));
  try {
    const { userId } = await h.user();
    const { jobId } = await h.jobs.createJob({ ...video, userId });
    await until(async () => (await h.jobs.getJob(jobId)).status === 'failed');
    expect(app.get<Frames>(Frames).ended[0]).toBeInstanceOf(RunTimeoutError);
  } finally {
    await app.close();
  }
});
