import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ApiOkResponse, DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { JobView, toJobView } from '../../src/index.js';
import { toJobViewAt } from '../../src/jobs/job.view.js';
import { videoJobFixture } from '../../src/testing/video-job.fixture.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

let h: Harness;
let view: JobView;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const QUEUE_COLUMNS = new Set(['availableAt', 'runNumber', 'workerId', 'attempts']);

it('shows every column of a job except those of the queue', async () => {
  const { userId } = await h.user();
  const { jobId } = await h.jobs.createJob({ userId, filename: 'cat.mp4', videoUrl: 's3://v/cat' });
  const job = await h.jobs.startJob(jobId, { leaseMs: 60_000 });
  view = toJobView(job);
  expect(view).toBeInstanceOf(JobView);
  const shown = Object.entries(job).filter(([key]) => !QUEUE_COLUMNS.has(key));
  expect({ ...view }).toEqual(Object.fromEntries(shown));
  expect(JSON.stringify(view)).not.toContain(job.workerId);
});

it('is documented by @nestjs/swagger, property by property', async () => {
  @Controller('jobs')
  class JobsController {
    @Get()
    @ApiOkResponse({ type: JobView })
    get(): void {}
  }
  @Module({ controllers: [JobsController] })
  class AppModule {}
  const app = await NestFactory.create(AppModule, { logger: false });
  const { components } = SwaggerModule.createDocument(app, new DocumentBuilder().build());
  await app.close();
  const schema = components?.schemas?.['JobView'] as {
    properties: Record<string, object>;
    required: string[];
  };
  expect(Object.keys(schema.properties).toSorted()).toEqual(Object.keys(view).toSorted());
  expect(schema.required.toSorted()).toEqual(Object.keys(view).toSorted());
  expect(schema.properties).toMatchObject({
    jobId: { type: 'string', format: 'uuid' },
    status: { enum: ['pending', 'processing', 'completed', 'failed'] },
    completedAt: { type: 'string', format: 'date-time', nullable: true },
    progress: { type: 'number', minimum: 0, maximum: 100 },
  });
});

it('shows a job as it was when a run ended, also for a notification without a run number', async () => {
  const made = (status: 'completed' | 'failed') =>
    videoJobFixture({ status, parameters: { fps: 2 }, output: { seconds: 9 } }).persist(
      h.dataSource,
    );
  const [completed, failed] = [await made('completed'), await made('failed')];
  const createdAt = new Date(0);
  const end = { createdAt, runNumber: null };
  expect(toJobViewAt(completed, { ...end, notificationType: 'success' })).toEqual(
    toJobView(completed),
  );
  expect(toJobView(completed)).toMatchObject({ parameters: { fps: 2 }, output: { seconds: 9 } });
  expect(toJobViewAt(failed, { ...end, notificationType: 'failure' })).toEqual(toJobView(failed));
  const retried = await h.jobs.retryJob(failed.jobId);
  const atItsEnd = toJobViewAt(retried, { ...end, notificationType: 'failure' });
  expect(atItsEnd).toEqual({
    ...toJobView(retried),
    status: 'failed',
    completedAt: createdAt,
    progress: null,
    errorMessage: null,
  });
  expect(atItsEnd).toBeInstanceOf(JobView);
});
