import {
  Body,
  Controller,
  ForbiddenException,
  forwardRef,
  Get,
  Injectable,
  Module,
  Param,
  ParseUUIDPipe,
  Post,
  UseGuards,
  ValidationPipe,
} from '@nestjs/common';
import type { CanActivate, DynamicModule, INestApplication } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import request from 'supertest';
import type { App } from 'supertest/types.js';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { Column, DataSource, Entity, PrimaryColumn } from 'typeorm';
import { FrameForgeDatabaseModule, InjectJobService } from '../../src/database.module.js';
import { ConfigurationError } from '../../src/errors.js';
import { CreateJobInput } from '../../src/jobs/job.inputs.js';
import { JobService } from '../../src/jobs/job.service.js';
import { User, VideoJob } from '../../src/schema/entities/index.js';
import { createTestingApp, userFixture, videoJobFixture } from '../../src/testing/index.js';
import type { TestingApp } from '../../src/testing/index.js';
import { query } from '../support/query.js';
import { onServer } from '../support/server.js';

@Entity({ name: 'tags' })
class Tag {
  @PrimaryColumn({ type: 'integer' }) n!: number;
  @Column({ type: 'text' }) label!: string;
}

class AddTags1800000001000 implements MigrationInterface {
  readonly name = 'AddTags1800000001000';
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('CREATE TABLE tags (n integer PRIMARY KEY, label text NOT NULL)');
  }
  async down(): Promise<void> {}
}

@Injectable()
class Locked implements CanActivate {
  canActivate(): boolean {
    throw new ForbiddenException();
  }
}

@Injectable()
class Clock {
  year(): number {
    return 2026;
  }
}

@Controller('jobs')
class JobsController {
  constructor(
    private readonly jobs: JobService,
    private readonly clock: Clock,
  ) {}

  @Post()
  create(@Body() input: CreateJobInput): Promise<VideoJob> {
    return this.jobs.createJob(input);
  }

  @Get(':id')
  @UseGuards(Locked)
  get(@Param('id', ParseUUIDPipe) id: string): Promise<VideoJob> {
    return this.jobs.getJob(id);
  }

  @Get('at/year')
  year(): number {
    return this.clock.year();
  }
}

const server = (app: INestApplication): App => app.getHttpServer() as App;
const isGone = (url: string): Promise<unknown> =>
  expect(query(onServer(url), 'SELECT 1')).rejects.toMatchObject({ code: '3D000' });
const nameOf = (app: TestingApp): string => new URL(app.database.url).pathname.slice(1);
const currentDatabase = async (dataSource: DataSource): Promise<unknown> =>
  (await dataSource.query<{ name: string }[]>('SELECT current_database() AS name'))[0]?.name;

describe('an application without a database module', () => {
  it('gets a database module, on a database of its own', async () => {
    await using a = await createTestingApp({ controllers: [JobsController], providers: [Clock] });
    await using b = await createTestingApp();
    const user = await userFixture().persist(a.get(DataSource));
    const { filename, videoUrl } = videoJobFixture().values;
    const response = await request(server(a))
      .post('/jobs')
      .send({ userId: user.userId, filename, videoUrl })
      .expect(201);
    expect(response.body).toMatchObject({ filename, status: 'pending' });
    expect(await currentDatabase(a.get(DataSource))).toBe(nameOf(a));
    expect(await a.get(JobService).countJobs()).toMatchObject({ pending: 1 });
    expect(await b.get(JobService).countJobs()).toMatchObject({ pending: 0 });
  });

  it('accepts the settings of main.ts, and replacements of providers and guards', async () => {
    await using app = await createTestingApp({
      controllers: [JobsController],
      providers: [Clock],
      overrides: (builder) =>
        builder
          .overrideProvider(Clock)
          .useValue({ year: () => 1999 })
          .overrideGuard(Locked)
          .useValue({ canActivate: () => true }),
      configure: (it) =>
        it.setGlobalPrefix('api').useGlobalPipes(new ValidationPipe({ transform: true })),
    });
    const { jobId } = await videoJobFixture({ status: 'failed' }).persist(app.get(DataSource));
    await request(server(app)).get('/api/jobs/at/year').expect(200, '1999');
    await request(server(app)).get(`/api/jobs/${jobId}`).expect(200);
    await request(server(app)).post('/api/jobs').send({}).expect(400);
  });
});

describe('an application with a database module', () => {
  it('keeps its options, except the database', async () => {
    @Module({
      imports: [
        FrameForgeDatabaseModule.forRootAsync({
          useFactory: () => ({
            url: 'postgres://nobody@unreachable.invalid/production',
            entities: [Tag],
            migrations: [AddTags1800000001000],
          }),
        }),
      ],
    })
    class DatabaseModule {}
    @Module({ imports: [forwardRef(() => DatabaseModule)] })
    class AppModule {}
    const dynamic: Promise<DynamicModule> = Promise.resolve({ module: AppModule });

    await using app = await createTestingApp({ imports: [dynamic] });
    const dataSource = app.get(DataSource);
    expect(await currentDatabase(dataSource)).toBe(nameOf(app));
    await dataSource.getRepository(Tag).insert({ n: 1, label: 'cats' });
    expect(await dataSource.getRepository(User).count()).toBe(0);
    expect(await (await app.database.dataSource()).getRepository(Tag).count()).toBe(1);
  });

  it('needs no environment variables, and accepts options for tests', async () => {
    await using app = await createTestingApp({
      imports: [FrameForgeDatabaseModule.forRoot({ poolSize: 3 })],
      database: { schema: 'video' },
    });
    const { options } = app.get(DataSource);
    expect(options).toMatchObject({ poolSize: 3, schema: 'video' });
  });

  it('keeps the schema that the URL of the application names', async () => {
    const url = 'postgres://somebody:secret@elsewhere/app?schema=video';
    await using app = await createTestingApp({
      imports: [FrameForgeDatabaseModule.forRoot({ url })],
    });
    const dataSource = app.get(DataSource);
    expect(dataSource.options).toMatchObject({ schema: 'video' });
    expect(await dataSource.query('SELECT FROM video.users')).toEqual([]);
  });

  it('has a database for each of its data sources', async () => {
    @Injectable()
    class Both {
      constructor(
        readonly main: JobService,
        @InjectJobService('archive') readonly archive: JobService,
      ) {}
    }
    @Module({
      imports: [
        FrameForgeDatabaseModule.forRoot(),
        FrameForgeDatabaseModule.forRoot({ name: 'archive' }),
      ],
      providers: [Both],
    })
    class AppModule {}
    const app = await createTestingApp({ imports: [AppModule] });
    await videoJobFixture().persist(app.get<DataSource>(getDataSourceToken('archive')));
    const { main, archive } = app.get(Both);
    expect(await main.countJobs()).toMatchObject({ pending: 0 });
    expect(await archive.countJobs()).toMatchObject({ pending: 1 });
    const urls = [main, archive].map(({ dataSource }) => String(Object(dataSource.options).url));
    await app.close();
    await Promise.all(urls.map(isGone));
  });

  it('is refused when it opens its data source by itself', async () => {
    const refused = createTestingApp({
      imports: [
        TypeOrmModule.forRoot({ type: 'postgres', url: 'postgres://unreachable.invalid/x' }),
        FrameForgeDatabaseModule.forFeature(),
      ],
    });
    await expect(refused).rejects.toThrow(ConfigurationError);
    await expect(refused).rejects.toThrow(/createTestDatabase\(\)/);
  });
});

describe('the end of an application', () => {
  it('closes it and drops its database, once', async () => {
    const endings: string[] = [];
    @Injectable()
    class Witness {
      async onApplicationShutdown(): Promise<void> {
        endings.push('closed');
      }
    }
    const app = await createTestingApp({ providers: [Witness] });
    const { url } = app.database;
    await Promise.all([app.close(), app.close()]);
    await app.close();
    expect(endings).toEqual(['closed']);
    await isGone(url);
  });

  it.each(['onModuleInit', 'onApplicationBootstrap'])(
    'leaves no database when %s fails',
    async (hook) => {
      let url = '';
      @Injectable()
      class Unlucky {
        constructor(readonly dataSource: DataSource) {
          url = String(Object(dataSource.options).url);
        }
      }
      Object.assign(Unlucky.prototype, {
        [hook]: () => Promise.reject(new Error('on purpose')),
      });
      await expect(createTestingApp({ providers: [Unlucky] })).rejects.toThrow('on purpose');
      await isGone(url);
    },
  );

  it('leaves no database when a provider cannot be made', async () => {
    let url = '';
    const refused = createTestingApp({
      providers: [
        {
          provide: 'broken',
          inject: [DataSource],
          useFactory: ({ options }: DataSource) => {
            url = String(Object(options).url);
            throw new Error('on purpose');
          },
        },
      ],
    });
    await expect(refused).rejects.toThrow('on purpose');
    await isGone(url);
  });
});
