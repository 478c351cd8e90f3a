// These files are added to an application. They are as its author would write them after reading the README.

/** Creates jobs by HTTP, and works on them in the background. */
export const UPLOADS = `
import { JobService, ListJobsInput, User, VideoJob } from '@frameforge/shared-types';
import { VideoJobProcessor } from '@frameforge/shared-types/worker';
import type { JobOutcome, VideoJobHandler } from '@frameforge/shared-types/worker';
import { Controller, Get, Param, Post, Query, ValidationPipe } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';

@VideoJobProcessor()
export class Frames implements VideoJobHandler {
  async process(job: VideoJob): Promise<JobOutcome> {
    return { resultUrl: \`s3://frames/\${job.jobId}.zip\`, frameCount: 240 };
  }
}

@Controller('jobs')
export class Uploads {
  constructor(
    private readonly jobs: JobService,
    @InjectRepository(User) private readonly users: Repository<User>,
  ) {}

  @Post(':name')
  async upload(@Param('name') name: string): Promise<VideoJob> {
    const user = this.users.create({ username: name, email: \`\${name}@x.org\`, passwordHash: 'x' });
    const { userId } = await this.users.save(user);
    return this.jobs.createJob({ userId, filename: 'cat.mp4', videoUrl: 's3://uploads/cat.mp4' });
  }

  @Get()
  async list(@Query(new ValidationPipe({ transform: true })) query: ListJobsInput) {
    const { jobs } = await this.jobs.listJobs(query);
    return jobs.map((job) => ({ status: job.status, isJob: job instanceof VideoJob }));
  }
}
`;

/** @param extension - of the files that are imported: '.js' in ES modules, none in CommonJS */
export const appModule = (extension: string): string => `
import { FrameForgeDatabaseModule } from '@frameforge/shared-types';
import { FrameForgeWorkerModule } from '@frameforge/shared-types/worker';
import { Module } from '@nestjs/common';
import { AppController } from './app.controller${extension}';
import { AppService } from './app.service${extension}';
import { Frames, Uploads } from './uploads${extension}';

@Module({
  imports: [
    FrameForgeDatabaseModule.forRoot(),
    FrameForgeDatabaseModule.forRoot({ name: 'second' }),
    FrameForgeWorkerModule.forRoot(),
  ],
  controllers: [AppController, Uploads],
  providers: [AppService, Frames],
})
export class AppModule {}
`;

/** The test of the whole application, on a database of its own, by the application's test runner. */
export const endToEndTest = (extension: string): string => `
import { createTestingApp, type TestingApp } from '@frameforge/shared-types/testing';
import { AppModule } from './../src/app.module${extension}';

describe('AppController (e2e)', () => {
  let app: TestingApp;
  let url: string;
  beforeAll(async () => {
    app = await createTestingApp({ imports: [AppModule] });
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  }, 120_000);
  afterAll(() => app?.close());

  it('works on the jobs that it creates', async () => {
    const created = await fetch(\`\${url}/jobs/ada\`, { method: 'POST' });
    expect(created.status).toBe(201);
    let listed: unknown;
    for (let tries = 0; tries < 200; tries += 1) {
      const response = await fetch(\`\${url}/jobs?limit=10&status=completed\`);
      expect(response.status).toBe(200);
      listed = await response.json();
      if ((listed as unknown[]).length > 0) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(listed).toEqual([{ status: 'completed', isJob: true }]);
  }, 30_000);
});
`;

/** A program that does the same without a test runner, and prints what it ran with. */
export const PROGRAM = `
import 'reflect-metadata';
import { FrameForgeDatabaseModule, InjectJobService, JobService, JobStatus, User, VideoJob } from '@frameforge/shared-types';
import { FrameForgeWorkerModule, VideoJobProcessor } from '@frameforge/shared-types/worker';
import type { JobOutcome, VideoJobHandler } from '@frameforge/shared-types/worker';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DataSource } from 'typeorm';

@VideoJobProcessor()
class Frames implements VideoJobHandler {
  constructor(
    readonly jobs: JobService,
    @InjectJobService('second') readonly others: JobService,
  ) {}

  async process(job: VideoJob): Promise<JobOutcome> {
    return { resultUrl: \`s3://frames/\${job.jobId}.zip\`, frameCount: 240 };
  }
}

async function main(): Promise<void> {
  const { server, url } = await database();
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url }),
      FrameForgeDatabaseModule.forRoot({ url, name: 'second' }),
      FrameForgeWorkerModule.forRoot(),
    ],
    providers: [Frames],
  })
  class AppModule {}
  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
  const dataSource = app.get(DataSource);
  const user = { username: 'ada', email: 'ada@example.com', passwordHash: 'x' };
  const { userId } = await dataSource.getRepository(User).save(user);
  const { jobs, others } = app.get(Frames);
  let job = await dataSource.transaction((manager) =>
    jobs.createJob({ userId, filename: 'cat.mp4', videoUrl: 's3://uploads/cat.mp4' }, { manager }),
  );
  for (let tries = 0; tries < 200 && job.status !== JobStatus.COMPLETED; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    job = await others.getJob(job.jobId);
  }
  const [{ server_version: postgres }] = await dataSource.query('SHOW server_version');
  await app.close();
  await server?.stop();
  process.stdout.write(JSON.stringify({ status: job.status, isJob: job instanceof VideoJob, postgres }));
}

/** The PostgreSQL that the environment names, or else one from npm. */
async function database() {
  const { DATABASE_URL } = process.env;
  if (DATABASE_URL) return { url: DATABASE_URL };
  const { startEmbeddedPostgres } = await import('@frameforge/shared-types/embedded');
  const server = await startEmbeddedPostgres();
  return { server, url: server.url };
}

void main();
`;
