import { Body, Controller, Get, Param, Post, Query, ValidationPipe } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import request from 'supertest';
import {
  CreateJobInput,
  FrameForgeDatabaseModule,
  JobResult,
  JobService,
  ListJobsInput,
  User,
} from '../../src/index.js';
import { getRepositoryToken } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { createDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';

/** A controller whose parameters have the input classes as types. An application has to write nothing more. */
@Controller('jobs')
class JobsController {
  constructor(private readonly jobs: JobService) {}

  @Post()
  create(@Body() input: CreateJobInput): Promise<object> {
    expect(input).toBeInstanceOf(CreateJobInput);
    return this.jobs.createJob(input);
  }

  @Get()
  list(@Query() input: ListJobsInput): Promise<object> {
    expect(input).toBeInstanceOf(ListJobsInput);
    return this.jobs.listJobs(input);
  }

  @Post(':jobId/result')
  async complete(@Param('jobId') jobId: string, @Body() result: JobResult): Promise<object> {
    return this.jobs.completeJob(await this.jobs.startJob(jobId), result);
  }
}

let database: TestDatabase;
let app: INestApplication;
let userId: string;
beforeAll(async () => {
  database = await createDatabase();
  const module = await Test.createTestingModule({
    imports: [FrameForgeDatabaseModule.forRoot({ url: database.url })],
    controllers: [JobsController],
  }).compile();
  app = module.createNestApplication();
  app.useGlobalPipes(
    new ValidationPipe({ transform: true, whitelist: true, forbidNonWhitelisted: true }),
  );
  await app.init();
  const users = app.get<Repository<User>>(getRepositoryToken(User));
  const user = users.create({ username: 'a', email: 'a@example.com', passwordHash: 'x' });
  ({ userId } = await users.save(user));
});
afterAll(async () => {
  await app.close();
  await database.drop();
});

const http = () => request(app.getHttpServer() as never);
const input = () => ({ userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' });

describe('CreateJobInput as a body', () => {
  it('creates a job', async () => {
    const { body } = await http().post('/jobs').send(input()).expect(201);
    expect(body).toMatchObject({ ...input(), status: 'pending' });
  });

  it('accepts a time as JSON writes it', async () => {
    const availableAt = '2100-01-31T12:00:00.123+02:00';
    const { body } = await http()
      .post('/jobs')
      .send({ ...input(), availableAt })
      .expect(201);
    expect(body).toMatchObject({ availableAt: '2100-01-31T10:00:00.123Z' });
  });

  it.each<[object, string[]]>([
    [
      {},
      [
        'userId must be a UUID',
        'filename must be a string of 1 to 255 characters, without NUL characters or lone surrogates',
        'videoUrl must be a URL with a scheme, such as https://host/path or s3://bucket/key, ' +
          'of at most 8192 characters',
      ],
    ],
    [{ status: 'completed' }, ['property status should not exist']],
    ...['tomorrow', '2030', '1', 5, true, null, '2030-01-31', '2030-13-31T12:00:00Z'].map(
      (availableAt): [object, string[]] => [
        { availableAt },
        // Null has the same meaning as a value that is left out.
        availableAt === null
          ? []
          : ['availableAt must be a Date from 1970 to 9999; in JSON, as 2030-01-31T12:00:00Z'],
      ],
    ),
  ])('with %j is refused before the controller runs', async (more, message) => {
    const whole = Object.keys(more).length === 0 ? {} : { ...input(), ...more };
    const { body } = await http()
      .post('/jobs')
      .send(whole)
      .expect(message.length === 0 ? 201 : 400);
    if (message.length > 0) expect(body).toMatchObject({ statusCode: 400, message });
  });
});

describe('ListJobsInput as a query', () => {
  it('is read from text, with the types that the service asks for', async () => {
    const before = await http().get('/jobs').query({ userId, limit: '1000' }).expect(200);
    const { body } = await http()
      .get('/jobs')
      .query({ userId, limit: '1', status: 'pending' })
      .expect(200);
    expect(body.jobs).toEqual([before.body.jobs[0]]);
    const next = await http()
      .get('/jobs')
      .query({ userId, limit: '1', cursor: body.nextCursor })
      .expect(200);
    expect(next.body.jobs).toEqual([before.body.jobs[1]]);
  });

  it.each([
    'limit=0',
    'limit=1001',
    'limit=',
    'limit=+1',
    'limit=1e2',
    'limit=0x10',
    'limit=true',
    'limit=1&limit=2',
    'userId=',
    'userId=me',
    'status=done',
    'status=pending&status=failed',
    'cursor=',
    'cursor=MQ',
    'userid=0190f2a4-5c6e-7abc-8def-0123456789ab',
    'userId[$ne]=x',
  ])('refuses ?%s', async (query) => {
    await http().get(`/jobs?${query}`).expect(400);
  });
});

describe('JobResult as a body', () => {
  it.each<unknown>(['', ' ', '5', true, null, [], -1, 0.5])(
    'refuses a frame count of %j, and completes nothing',
    async (frameCount) => {
      const { body } = await http().post('/jobs').send(input()).expect(201);
      const response = await http()
        .post(`/jobs/${body.jobId}/result`)
        .send({ resultUrl: 's3://r/1', frameCount })
        .expect(400);
      expect(response.body).toMatchObject({
        message: ['frameCount must be an integer from 0 to 2147483647'],
      });
      expect(await app.get(JobService).getJob(body.jobId)).toMatchObject({ status: 'pending' });
    },
  );

  it('completes the job', async () => {
    const { body } = await http().post('/jobs').send(input()).expect(201);
    const done = await http()
      .post(`/jobs/${body.jobId}/result`)
      .send({ resultUrl: 's3://r/1', frameCount: 0 })
      .expect(201);
    expect(done.body).toMatchObject({ job: { status: 'completed', frameCount: 0 } });
  });
});
