import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Min } from 'class-validator';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import { JobService } from '../../src/jobs/job.service.js';
import { FrameForgeWorkerModule, VideoJobProcessor } from '../../src/worker/index.js';
import type { JobOutcome, JobWith, VideoJobHandler } from '../../src/worker/index.js';
import { video } from '../jobs/fixtures.js';
import { RESULT } from './app.js';
import { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

class ExtractionParameters {
  @Min(0.1) framesPerSecond!: number;
}

@Injectable()
@VideoJobProcessor({ concurrency: 2 })
class Extractor implements VideoJobHandler<ExtractionParameters> {
  process({ filename, parameters }: JobWith<ExtractionParameters>): Promise<JobOutcome> {
    // The type is known, so this line would not compile with another name.
    const result = { ...RESULT, output: { twice: 2 * parameters.framesPerSecond } };
    return Promise.resolve(filename === 'later' ? () => Promise.resolve(result) : result);
  }
}

it('passes typed parameters to the handler, and stores what it returns as output', async () => {
  @Module({
    imports: [
      FrameForgeDatabaseModule.forRoot({
        url: world.harness.url,
        jobParameters: ExtractionParameters,
      }),
      FrameForgeWorkerModule.forRoot({ pollMs: 20 }),
    ],
    providers: [Extractor],
  })
  class App {}
  const app = await NestFactory.createApplicationContext(App, { logger: false });
  try {
    const jobs = app.get(JobService);
    const { userId } = await world.harness.user();
    await expect(jobs.createJob({ ...video, userId })).rejects.toMatchObject({
      problems: [{ property: 'parameters.framesPerSecond' }],
    });
    const created = await jobs.createJobs(
      [1, 2, 3].map((framesPerSecond) => ({
        ...video,
        userId,
        filename: framesPerSecond === 3 ? 'later' : 'now',
        parameters: { framesPerSecond },
      })),
    );
    for (const [index, job] of created.entries()) {
      expect(await world.final(job)).toMatchObject({
        status: 'completed',
        output: { twice: 2 * (index + 1) },
      });
    }
  } finally {
    await app.close();
  }
});
