import type { DynamicModule, INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { getDataSourceToken, getRepositoryToken, TypeOrmModule } from '@nestjs/typeorm';
import { Column, DataSource, DefaultNamingStrategy, Entity, PrimaryColumn } from 'typeorm';
import type { Repository } from 'typeorm';
import {
  FrameForgeDatabaseModule,
  frameForgeEntities,
  frameForgeMigrations,
  JobService,
  migrate,
  User,
} from '../../src/index.js';
import { migration } from '../connection/boot.js';
import { query } from '../support/query.js';
import type { TestDatabase } from '../support/server.js';
import { createDatabase, onServer } from '../support/server.js';

let database: TestDatabase;
let url: string;
const apps: INestApplicationContext[] = [];
beforeEach(async () => {
  database = await createDatabase();
  url = database.url;
});
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
  await database.drop();
});

async function boot(...imports: DynamicModule[]): Promise<INestApplicationContext> {
  // Where several imports provide a class, Nest injects that of the first import.
  const providers = [{ provide: 'jobs', useExisting: JobService }];
  const silent = { log() {}, warn() {}, error() {} };
  const testing = await Test.createTestingModule({ imports, providers })
    .setLogger(silent)
    .compile();
  apps.push(testing);
  return testing.init();
}

/** A job's whole life, by the service and the repository of one data source. */
async function liveOneJob(app: INestApplicationContext, name?: string): Promise<void> {
  const users = app.get<Repository<User>>(getRepositoryToken(User, name), { strict: false });
  const jobs = app.get<JobService>(name === undefined ? 'jobs' : `${name}JobService`, {
    strict: false,
  });
  const { userId } = await users.save(
    users.create({ username: 'ann', email: 'ann@example.com', passwordHash: 'x' }),
  );
  await jobs.createJob({ userId, filename: 'a.mp4', videoUrl: 's3://b/a' });
  const [job] = await jobs.claimJobs();
  if (job === undefined) throw new Error('the job is not claimable');
  const result = { resultUrl: 's3://b/r', frameCount: 1 };
  const { notification } = await jobs.completeJob(job, result);
  expect(notification.recipientEmail).toBe('ann@example.com');
  expect(await jobs.countJobs({ userId })).toMatchObject({ completed: 1 });
}

const schemaOf = async (table: string): Promise<unknown[]> =>
  (await query(url, `SELECT schemaname AS s FROM pg_tables WHERE tablename = '${table}'`)).map(
    ({ s }) => s,
  );

class SnakeNamingStrategy extends DefaultNamingStrategy {
  override columnName(property: string, custom: string, prefixes: string[]): string {
    const name = super.columnName(property, custom, prefixes);
    return custom ? name : name.replace(/[A-Z]/g, '_$&').toLowerCase();
  }
}

@Entity()
class ThumbnailStyle {
  @PrimaryColumn({ type: 'text' }) styleName!: string;
  @Column({ type: 'integer' }) pixelWidth!: number;
}

describe('an application', () => {
  it('with a schema of its own has all tables there', async () => {
    await liveOneJob(await boot(FrameForgeDatabaseModule.forRoot({ url, schema: 'Frame-Forge' })));
    for (const table of ['users', 'video_jobs', 'notification_log', 'migrations']) {
      expect(await schemaOf(table)).toEqual(['Frame-Forge']);
    }
  });

  it('with a schema that its search_path names has all tables there', async () => {
    // A pooler would keep a connection from before the change.
    await query(onServer(url), 'CREATE SCHEMA apart');
    const name = new URL(url).pathname.slice(1);
    await query(onServer(url), `ALTER DATABASE ${name} SET search_path = apart`);
    await liveOneJob(await boot(FrameForgeDatabaseModule.forRoot({ url })));
    expect(await schemaOf('video_jobs')).toEqual(['apart']);
  });

  it('with a naming strategy, entities and migrations of its own keeps them beside those of this package', async () => {
    const createStyles = migration('CreateThumbnailStyles1710000000000', (runner) =>
      runner.query('CREATE TABLE thumbnail_style (style_name text PRIMARY KEY, pixel_width int)'),
    );
    const app = await boot(
      FrameForgeDatabaseModule.forRoot({
        url,
        namingStrategy: new SnakeNamingStrategy(),
        entities: [ThumbnailStyle],
        migrations: [createStyles],
      }),
    );
    await liveOneJob(app);
    const styles = app.get(DataSource).getRepository(ThumbnailStyle);
    await styles.save({ styleName: 'small', pixelWidth: 64 });
    expect(await query(url, 'SELECT * FROM thumbnail_style')).toEqual([
      { style_name: 'small', pixel_width: 64 },
    ]);
  });

  it('with several data sources, in schemas of one database, migrates each', async () => {
    const app = await boot(
      FrameForgeDatabaseModule.forRoot({ url }),
      ...['north', 'south'].map((name) =>
        FrameForgeDatabaseModule.forRoot({ url, name, schema: name, poolSize: 1 }),
      ),
    );
    for (const name of [undefined, 'north', 'south']) await liveOneJob(app, name);
    expect((await schemaOf('video_jobs')).toSorted()).toEqual(['north', 'public', 'south']);
    expect(app.get(getDataSourceToken('north')).options).toMatchObject({ schema: 'north' });
  });

  it('migrates its own data source with migrate(), also when many replicas do so at once', async () => {
    const dataSource = (): DynamicModule =>
      TypeOrmModule.forRootAsync({
        useFactory: () => ({
          type: 'postgres' as const,
          url,
          poolSize: 1,
          installExtensions: false,
          uuidExtension: 'pgcrypto' as const,
          entities: frameForgeEntities,
          migrations: frameForgeMigrations,
          retryAttempts: 1,
        }),
        dataSourceFactory: async (options) => {
          const opened = await new DataSource(options!).initialize();
          await migrate(opened, { logger: { log: () => {}, warn: () => {} } });
          return opened;
        },
      });
    const replicas = await Promise.all(
      Array.from({ length: 6 }, () => boot(dataSource(), FrameForgeDatabaseModule.forFeature())),
    );
    await liveOneJob(replicas[0]!);
    const applied = await query(url, 'SELECT name FROM migrations');
    expect(applied).toHaveLength(frameForgeMigrations.length);
  });
});
