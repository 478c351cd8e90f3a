import { Injectable, Module } from '@nestjs/common';
import type { INestApplicationContext, ModuleMetadata } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { Column, DataSource, Entity, PrimaryColumn, Repository } from 'typeorm';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import {
  FrameForgeDatabaseModule,
  frameForgeEntities,
  frameForgeMigrations,
  JobService,
  NotificationLog,
  NotificationService,
  User,
  UserService,
  VideoJob,
} from '../../src/index.js';
import type {
  FrameForgeDatabaseOptions,
  FrameForgeDatabaseOptionsFactory,
} from '../../src/index.js';
import { createDatabase, onServer, otherDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';
import { until } from '../support/until.js';

let database: TestDatabase;
const opened: INestApplicationContext[] = [];
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((app) => app.close()));
  await database.drop();
});

async function boot(metadata: ModuleMetadata): Promise<INestApplicationContext> {
  const app = await Test.createTestingModule(metadata).compile();
  opened.push(app);
  return app.init();
}

/** A service of the host application, with the providers that it injects. */
@Injectable()
class Uploads {
  constructor(
    readonly jobs: JobService,
    readonly notifications: NotificationService,
    readonly accounts: UserService,
    @InjectRepository(User) readonly users: Repository<User>,
    @InjectRepository(VideoJob) readonly videoJobs: Repository<VideoJob>,
    @InjectRepository(NotificationLog) readonly log: Repository<NotificationLog>,
    readonly dataSource: DataSource,
  ) {}

  /** Uses all services: creates a user and a job, completes the job, and reads its notification. */
  async work(): Promise<void> {
    const ada = { username: 'ada', email: 'ada@example.com', passwordHash: 'x' };
    const { userId } = await this.accounts.createUser(ada);
    expect(await this.users.find()).toMatchObject([{ userId }]);
    const job = await this.jobs.createJob({ userId, filename: 'f', videoUrl: 's3://b/k' });
    const run = await this.jobs.startJob(job.jobId);
    await this.jobs.completeJob(run, { resultUrl: 's3://b/r', frameCount: 3 });
    const { notifications } = await this.notifications.listNotifications({ jobId: job.jobId });
    expect(notifications).toEqual(await this.log.find());
    expect(notifications).toHaveLength(1);
    expect(await this.videoJobs.findOneByOrFail({ userId })).toMatchObject({ frameCount: 3 });
  }
}

/** A feature of the application that does not import the database itself. */
@Module({ providers: [Uploads], exports: [Uploads] })
class UploadsModule {}

@Injectable()
class Settings implements FrameForgeDatabaseOptionsFactory {
  async createFrameForgeDatabaseOptions(): Promise<FrameForgeDatabaseOptions> {
    return { url: database.url };
  }
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

/** Here, a global module imports forFeature. */
function forFeatureEverywhere(): ReturnType<typeof FrameForgeDatabaseModule.forFeature> {
  return { ...FrameForgeDatabaseModule.forFeature(), global: true };
}

describe('forRoot and forRootAsync', () => {
  it.each<[string, () => ModuleMetadata['imports'] & object]>([
    ['forRoot', () => [FrameForgeDatabaseModule.forRoot({ url: database.url })]],
    [
      'forRootAsync with useFactory',
      () => [
        FrameForgeDatabaseModule.forRootAsync({
          imports: [SettingsModule],
          inject: [Settings],
          useFactory: async (settings: Settings) => settings.createFrameForgeDatabaseOptions(),
        }),
      ],
    ],
    [
      'forRootAsync with useClass',
      () => [FrameForgeDatabaseModule.forRootAsync({ useClass: Settings })],
    ],
    [
      'forRootAsync with useExisting',
      () => [
        FrameForgeDatabaseModule.forRootAsync({ imports: [SettingsModule], useExisting: Settings }),
      ],
    ],
    [
      "forFeature on the application's data source",
      () => [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: database.url,
          uuidExtension: 'pgcrypto',
          installExtensions: false,
          entities: frameForgeEntities,
          migrations: frameForgeMigrations,
          migrationsRun: true,
        }),
        forFeatureEverywhere(),
      ],
    ],
    [
      "forFeature on the application's data source, which loads entities by itself",
      () => [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: database.url,
          installExtensions: false,
          autoLoadEntities: true,
          migrations: frameForgeMigrations,
          migrationsRun: true,
        }),
        forFeatureEverywhere(),
      ],
    ],
  ])('%s gives every module the repositories and services', async (_, imports) => {
    const app = await boot({ imports: [UploadsModule, ...imports()] });
    const uploads = app.get(Uploads);
    await uploads.work();
    expect(uploads.dataSource).toBe(app.get(DataSource));
    expect(await uploads.dataSource.showMigrations()).toBe(false);
  });

  it('reads the environment when it boots, not when the module is imported', async () => {
    const imported = FrameForgeDatabaseModule.forRoot();
    const before = process.env['DATABASE_URL'];
    process.env['DATABASE_URL'] = database.url;
    try {
      const app = await boot({ imports: [imported, UploadsModule] });
      await app.get(Uploads).work();
    } finally {
      if (before === undefined) delete process.env['DATABASE_URL'];
      else process.env['DATABASE_URL'] = before;
    }
  });

  it('opens one data source, and closes it with the application', async () => {
    // This connects to the server itself, because a pooler keeps connections of its own.
    const url = onServer(database.url);
    const app = await boot({
      imports: [
        FrameForgeDatabaseModule.forRoot({ url, applicationName: 'counted' }),
        UploadsModule,
      ],
    });
    const { dataSource, jobs } = app.get(Uploads);
    const connections = async (): Promise<unknown> => {
      const observer = await new DataSource({ type: 'postgres', url }).initialize();
      const [row] = await observer.query(
        `SELECT count(*)::int AS n FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'counted'`,
      );
      await observer.destroy();
      return (row as { n: number }).n;
    };
    await jobs.countJobs();
    expect(await connections()).toBe(1);
    await app.close();
    expect(dataSource.isInitialized).toBe(false);
    await expect(jobs.countJobs()).rejects.toBeInstanceOf(Error);
    // The server needs a moment to notice that a client has gone.
    await until(async () => (await connections()) === 0);
  });
});

@Entity()
class Invoice {
  @PrimaryColumn({ type: 'integer' }) id!: number;
  @Column({ type: 'varchar', nullable: true }) note!: string | null;
}

class CreateInvoices1800000001000 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('CREATE TABLE invoice (id integer PRIMARY KEY, note varchar)');
  }
  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE invoice');
  }
}

describe("the application's own entities and migrations", () => {
  @Module({ imports: [TypeOrmModule.forFeature([Invoice])] })
  class InvoicesModule {}

  it.each<[string, FrameForgeDatabaseOptions]>([
    ['named in the options', { entities: [Invoice] }],
    ['loaded by TypeOrmModule.forFeature', { autoLoadEntities: true }],
    ['both', { entities: [Invoice], autoLoadEntities: true }],
  ])('are added to those of the package: %s', async (_, options) => {
    const app = await boot({
      imports: [
        FrameForgeDatabaseModule.forRoot({
          url: database.url,
          migrations: [CreateInvoices1800000001000],
          ...options,
        }),
        InvoicesModule,
        UploadsModule,
      ],
    });
    const { dataSource } = app.get(Uploads);
    await dataSource.getRepository(Invoice).insert({ id: 1 });
    await app.get(Uploads).work();
    expect(dataSource.entityMetadatas.map(({ name }) => name).toSorted()).toEqual(
      [Invoice, ...frameForgeEntities].map(({ name }) => name).toSorted(),
    );
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    expect(upQueries).toEqual([]);
  });
});

const take = (options: object) => () => FrameForgeDatabaseModule.forRootAsync(options as never);

const refusal = async (metadata: ModuleMetadata): Promise<Error> => {
  try {
    await boot(metadata);
  } catch (error) {
    return error as Error;
  }
  throw new Error('The application booted.');
};

describe('what is wrong', () => {
  it('fails the boot once, with a message that names the mistake', async () => {
    const url = otherDatabase(database.url, 'not_there');
    const given = { ulr: url, migrationsRun: 'yes' } as never;
    const expected = {
      name: 'ConfigurationError',
      message:
        'FrameForgeDatabaseModule cannot start: `ulr` is not an option here: remove it, or ' +
        'correct its spelling; `migrationsRun` must be true or false.',
    };
    const bad = [
      FrameForgeDatabaseModule.forRoot(given),
      FrameForgeDatabaseModule.forRootAsync({ useFactory: () => given }),
    ];
    for (const module of bad) {
      expect(await refusal({ imports: [module] })).toMatchObject(expected);
    }
    expect(
      await refusal({
        imports: [FrameForgeDatabaseModule.forRootAsync({ useFactory: () => null as never })],
      }),
    ).toMatchObject({
      message: 'FrameForgeDatabaseModule cannot start: its options must be an object.',
    });
  });

  it('is refused at the import of the module if the import is wrong', () => {
    const exactlyOne =
      'FrameForgeDatabaseModule.forRootAsync takes exactly one of useFactory, useClass, useExisting.';
    expect(take({})).toThrow(exactlyOne);
    expect(take({ useFactory: () => ({}), useClass: Settings })).toThrow(exactlyOne);
    expect(take({ useFactory: () => ({}), nmae: 'x' })).toThrow(
      'FrameForgeDatabaseModule.forRootAsync does not take `nmae`: it takes useFactory, useClass, ' +
        'useExisting, imports, inject, provideInjectionTokensFrom, name.',
    );
    expect(() => FrameForgeDatabaseModule.forFeature({ datasource: 'x' } as never)).toThrow(
      'FrameForgeDatabaseModule.forFeature does not take `datasource`: ' +
        'it takes dataSource, preparedStatements, replyTimeoutMs, urlSchemes, jobParameters, currentManager, notifyWorkers, listen.',
    );
    expect(() =>
      FrameForgeDatabaseModule.forFeature({ dataSource: '', preparedStatements: 'no' } as never),
    ).toThrow(
      'FrameForgeDatabaseModule.forFeature was given wrong options: `dataSource` must be a text that ' +
        'is not empty: leave it out for the default; `preparedStatements` must be true or false.',
    );
    expect(take({ useFactory: () => ({}), name: 5 })).toThrow('`name` must be a text');
    expect(take({ useFactory: 'here' })).toThrow('`useFactory` must be a function');
  });

  it('names the entities that a data source of the application lacks', async () => {
    const error = await refusal({
      imports: [
        TypeOrmModule.forRoot({ type: 'postgres', url: database.url, entities: [User] }),
        { ...FrameForgeDatabaseModule.forFeature(), global: true },
      ],
    });
    expect(error).toMatchObject({
      name: 'ConfigurationError',
      message:
        'The data source of FrameForgeDatabaseModule lacks the entities VideoJob, ' +
        'NotificationLog, JobAttemptError, ProcessingState, WorkerReport. Add frameForgeEntities to its `entities` and ' +
        'frameForgeMigrations to its `migrations`.',
    });
  });

  it('is reported by the first call if a data source of the application lacks the migrations', async () => {
    const app = await boot({
      imports: [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: database.url,
          installExtensions: false,
          autoLoadEntities: true,
        }),
        FrameForgeDatabaseModule.forFeature(),
      ],
      providers: [Uploads],
    });
    await expect(app.get(Uploads).jobs.countJobs()).rejects.toMatchObject({
      code: 'MIGRATION_FAILED',
      message:
        'countJobs needs a table, column or schema that does not exist: ' +
        'relation "video_jobs" does not exist. Run the migrations of this release first.',
    });
  });
});
