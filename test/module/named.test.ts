import { Injectable, Module } from '@nestjs/common';
import type { INestApplicationContext, ModuleMetadata } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { InjectDataSource, InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import {
  FrameForgeDatabaseModule,
  frameForgeEntities,
  frameForgeMigrations,
  InjectJobService,
  InjectNotificationService,
  InjectUserService,
  JobService,
  NotificationService,
  UserService,
  User,
  VideoJob,
} from '../../src/index.js';
import { createDatabase, onServer } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';

let databases: TestDatabase[];
const opened: INestApplicationContext[] = [];
beforeAll(async () => {
  databases = await Promise.all([createDatabase(), createDatabase(), createDatabase()]);
});
afterEach(() => Promise.all(opened.splice(0).map((app) => app.close())));
afterAll(() => Promise.all(databases.map((database) => database.drop())));

async function boot(metadata: ModuleMetadata): Promise<INestApplicationContext> {
  const app = await Test.createTestingModule(metadata).compile();
  opened.push(app);
  return app.init();
}

const url = (index: number): string => databases[index]?.url ?? '';

/** Creates a user and a job with services and repositories that must use the same database. */
async function work(
  jobs: JobService,
  users: Repository<User>,
  videoJobs: Repository<VideoJob>,
): Promise<void> {
  const name = `u${Math.random()}`;
  const user = users.create({ username: name, email: name, passwordHash: 'x' });
  const { userId } = await users.save(user);
  const { jobId } = await jobs.createJob({ userId, filename: 'f', videoUrl: 's3://b/k' });
  expect(await videoJobs.findOneByOrFail({ jobId })).toMatchObject({ userId });
}

const nameOf = async (dataSource: DataSource): Promise<unknown> => {
  const [row] = await dataSource.query('SELECT current_database() AS name');
  return (row as { name: string }).name;
};

@Injectable()
class Everywhere {
  constructor(
    readonly jobs: JobService,
    readonly notifications: NotificationService,
    @InjectRepository(User) readonly users: Repository<User>,
    @InjectRepository(VideoJob) readonly videoJobs: Repository<VideoJob>,
    @InjectJobService('archive') readonly archive: JobService,
    @InjectNotificationService('archive') readonly archiveLog: NotificationService,
    @InjectUserService('archive') readonly archiveAccounts: UserService,
    @InjectRepository(User, 'archive') readonly archiveUsers: Repository<User>,
    @InjectRepository(VideoJob, 'archive') readonly archiveJobs: Repository<VideoJob>,
    @InjectJobService('europe') readonly europe: JobService,
    @InjectDataSource() readonly dataSource: DataSource,
    @InjectDataSource('archive') readonly archiveDataSource: DataSource,
    @InjectDataSource('europe') readonly europeDataSource: DataSource,
  ) {}
}

const main = () => FrameForgeDatabaseModule.forRoot({ url: url(0) });
const archive = () => FrameForgeDatabaseModule.forRoot({ url: url(1), name: 'archive' });
const europe = () =>
  FrameForgeDatabaseModule.forRootAsync({
    name: 'europe',
    useFactory: async () => ({ url: url(2) }),
  });

describe('several data sources in one application', () => {
  it('each have their services and repositories, by name', async () => {
    const app = await boot({ imports: [main(), archive(), europe()], providers: [Everywhere] });
    const all = app.get(Everywhere);
    const names = [all.dataSource, all.archiveDataSource, all.europeDataSource].map(nameOf);
    expect(await Promise.all(names)).toEqual(
      [0, 1, 2].map((i) => new URL(url(i)).pathname.slice(1)),
    );
    await work(all.jobs, all.users, all.videoJobs);
    await work(all.archive, all.archiveUsers, all.archiveJobs);
    await work(all.archive, all.archiveUsers, all.archiveJobs);
    const pending = await Promise.all(
      [all.jobs, all.archive, all.europe].map(async (jobs) => (await jobs.countJobs()).pending),
    );
    expect(pending).toEqual([1, 2, 0]);
    expect((await all.notifications.listNotifications()).notifications).toEqual([]);
    expect((await all.archiveLog.listNotifications()).notifications).toEqual([]);
    const zoe = { username: 'zoe', email: 'zoe@example.com', passwordHash: 'x' };
    await all.archiveAccounts.createUser(zoe);
    const found = [all.users, all.archiveUsers].map((users) => users.countBy({ username: 'zoe' }));
    expect(await Promise.all(found)).toEqual([0, 1]);
  });

  it('are distinguished by name, in whatever order they are imported', async () => {
    @Injectable()
    class Two {
      constructor(
        readonly ofTheFirst: JobService,
        @InjectJobService('archive') readonly archived: JobService,
        @InjectJobService('europe') readonly european: JobService,
      ) {}
    }
    for (const first of ['archive', 'europe']) {
      const imports = [archive(), europe()];
      if (first === 'europe') imports.reverse();
      const app = await boot({ imports, providers: [Two] });
      const { archived, european, ofTheFirst } = app.get(Two);
      expect(archived).not.toBe(european);
      expect(ofTheFirst).toBe(first === 'europe' ? european : archived);
      expect((await archived.countJobs()).pending).toBe(2);
      expect((await european.countJobs()).pending).toBe(0);
      await app.close();
    }
  });

  it('are injected by class into a feature that imports one of them; other features get the default one', async () => {
    @Injectable()
    class Feature {
      constructor(
        readonly jobs: JobService,
        @InjectRepository(User, 'archive') readonly users: Repository<User>,
        @InjectRepository(VideoJob, 'archive') readonly videoJobs: Repository<VideoJob>,
      ) {}
    }
    @Module({
      imports: [FrameForgeDatabaseModule.forFeature({ dataSource: 'archive' })],
      providers: [Feature],
    })
    class ArchiveModule {}
    @Injectable()
    class Plain {
      constructor(readonly jobs: JobService) {}
    }
    @Module({ providers: [Plain] })
    class PlainModule {}
    const app = await boot({ imports: [PlainModule, ArchiveModule, archive(), main()] });
    const { jobs, users, videoJobs } = app.get(Feature, { strict: false });
    await work(jobs, users, videoJobs);
    expect((await jobs.countJobs()).pending).toBe(3);
    expect((await app.get(Plain, { strict: false }).jobs.countJobs()).pending).toBe(1);
  });

  it("the data source without a name has the name 'default'", async () => {
    @Injectable()
    class Service {
      constructor(
        readonly jobs: JobService,
        @InjectJobService() readonly same: JobService,
        @InjectJobService('default') readonly again: JobService,
      ) {}
    }
    @Module({ providers: [Service] })
    class ServiceModule {}
    for (const name of [undefined, 'default']) {
      const app = await boot({
        imports: [FrameForgeDatabaseModule.forRoot({ url: url(0), name }), ServiceModule],
      });
      const { jobs, same, again } = app.get(Service, { strict: false });
      expect([same, again]).toEqual([jobs, jobs]);
      expect(same).toBe(jobs);
      await app.close();
    }
  });
});

describe('a named data source that the application opens', () => {
  it.each([{ entities: frameForgeEntities }, { autoLoadEntities: true }])(
    'with %p is used by forFeature',
    async (entities) => {
      @Injectable()
      class Service {
        constructor(
          readonly byClass: JobService,
          @InjectJobService('theirs') readonly byName: JobService,
          @InjectRepository(User, 'theirs') readonly users: Repository<User>,
          @InjectRepository(VideoJob, 'theirs') readonly videoJobs: Repository<VideoJob>,
        ) {}
      }
      const app = await boot({
        imports: [
          TypeOrmModule.forRoot({
            name: 'theirs',
            type: 'postgres',
            url: url(0),
            installExtensions: false,
            migrations: frameForgeMigrations,
            migrationsRun: true,
            ...entities,
          }),
          FrameForgeDatabaseModule.forFeature({ dataSource: 'theirs' }),
        ],
        providers: [Service],
      });
      const { byClass, byName, users, videoJobs } = app.get(Service);
      expect(byClass).toBe(byName);
      await work(byName, users, videoJobs);
    },
  );
});

const prepared = async (jobs: JobService, dataSource: DataSource): Promise<number> => {
  await jobs.countJobs();
  const [row] = await dataSource.query(
    `SELECT count(*)::int AS n FROM pg_prepared_statements WHERE name LIKE 'ff_%'`,
  );
  return (row as { n: number }).n;
};

// These tests connect to the server itself, because a pooler would show the statements of another connection.
describe('preparedStatements', () => {
  const { DB_PREPARED_STATEMENTS } = process.env;
  beforeEach(() => delete process.env['DB_PREPARED_STATEMENTS']);
  afterAll(() => {
    if (DB_PREPARED_STATEMENTS === undefined) delete process.env['DB_PREPARED_STATEMENTS'];
    else process.env['DB_PREPARED_STATEMENTS'] = DB_PREPARED_STATEMENTS;
  });

  @Injectable()
  class Service {
    constructor(
      readonly jobs: JobService,
      @InjectDataSource('pooled') readonly dataSource: DataSource,
    ) {}
  }

  it.each<[boolean | undefined, boolean | undefined, number]>([
    [undefined, undefined, 1],
    // forFeature uses the setting of forRoot, so that it is set only once for a data source behind PgBouncer.
    [false, undefined, 0],
    [true, false, 0],
    [false, true, 1],
  ])('forRoot %s, forFeature %s: %i statement', async (root, feature, count) => {
    @Module({
      imports: [
        FrameForgeDatabaseModule.forFeature({ dataSource: 'pooled', preparedStatements: feature }),
      ],
      providers: [Service],
    })
    class FeatureModule {}
    const app = await boot({
      imports: [
        FrameForgeDatabaseModule.forRoot({
          name: 'pooled',
          url: onServer(url(0)),
          poolSize: 1,
          preparedStatements: root,
        }),
        FeatureModule,
      ],
    });
    const { jobs, dataSource } = app.get(Service, { strict: false });
    expect(await prepared(jobs, dataSource)).toBe(count);
  });

  it.each([
    [undefined, 1],
    ['false', 0],
  ])('DB_PREPARED_STATEMENTS=%s, a data source of their own: %i statement', async (set, count) => {
    if (set !== undefined) process.env['DB_PREPARED_STATEMENTS'] = set;
    const app = await boot({
      imports: [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: onServer(url(0)),
          poolSize: 1,
          entities: frameForgeEntities,
          installExtensions: false,
          uuidExtension: 'pgcrypto',
        }),
        FrameForgeDatabaseModule.forFeature(),
      ],
    });
    expect(await prepared(app.get(JobService), app.get(DataSource))).toBe(count);
  });
});
