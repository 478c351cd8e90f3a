import { DataSource, DefaultNamingStrategy } from 'typeorm';
import type { NamingStrategyInterface } from 'typeorm';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import {
  frameForgeEntities,
  NotificationLog,
  User,
  VideoJob,
} from '../../src/schema/entities/index.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { openHarness } from '../support/harness.js';
import { query } from '../support/query.js';
import { createDatabase } from '../support/server.js';
import { readCatalog } from '../schema/catalog.js';
import { expectedCatalog } from '../schema/expected-catalog.js';

/** A common configuration: every name is in snake case, unless an entity names it. */
class SnakeNamingStrategy extends DefaultNamingStrategy implements NamingStrategyInterface {
  override tableName(className: string, customName: string): string {
    return customName ? customName : snake(className);
  }
  override columnName(propertyName: string, customName: string, prefixes: string[]): string {
    return snake(prefixes.join('_')) + (customName ? customName : snake(propertyName));
  }
  override relationName(propertyName: string): string {
    return snake(propertyName);
  }
  override joinColumnName(relationName: string, referencedColumnName: string): string {
    return snake(`${relationName}_${referencedColumnName}`);
  }
  override primaryKeyName(): string {
    return 'snake_pk';
  }
  override uniqueConstraintName(): string {
    return 'snake_uq';
  }
  override foreignKeyName(): string {
    return 'snake_fk';
  }
  override indexName(): string {
    return 'snake_idx';
  }
  override checkConstraintName(): string {
    return 'snake_chk';
  }
}

const snake = (name: string): string =>
  name.replace(/([a-z])([A-Z])/g, (_, a: string, b: string) => `${a}_${b}`).toLowerCase();

const pendingChanges = async (dataSource: DataSource): Promise<string[]> => {
  const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
  return upQueries.map((change) => change.query);
};

it.each<[string, FrameForgeDatabaseOptions]>([
  ['plain', {}],
  ['with a naming strategy', { namingStrategy: new SnakeNamingStrategy() }],
  ['with the default schema written out', { schema: 'public' }],
])('leaves the schema generator nothing to change: %s', async (_, options) => {
  const h = await openHarness(options);
  try {
    expect(await pendingChanges(h.dataSource)).toEqual([]);
    expect(await readCatalog(h.dataSource)).toEqual(expectedCatalog());
  } finally {
    await h.close();
  }
});

it('the schema generator finds a difference if there is one', async () => {
  const h = await openHarness();
  try {
    await h.dataSource.query('ALTER TABLE video_jobs ALTER COLUMN "attempts" SET DEFAULT 1');
    expect(await pendingChanges(h.dataSource)).toHaveLength(1);
  } finally {
    await h.close();
  }
});

const open = async (url: string, schema: string): Promise<DataSource> =>
  new DataSource({
    type: 'postgres',
    url,
    schema,
    namingStrategy: new SnakeNamingStrategy(),
    entities: frameForgeEntities,
    migrations: frameForgeMigrations,
    uuidExtension: 'pgcrypto',
    installExtensions: false,
  }).initialize();

describe('another schema', () => {
  it.each(['frameforge', 'Frame Forge-2'])(
    '%s contains all tables, and only these',
    async (schema) => {
      const database = await createDatabase();
      const quoted = `"${schema}"`;
      await query(database.url, `CREATE SCHEMA ${quoted}`);
      const dataSource = await open(database.url, schema);
      try {
        await dataSource.runMigrations();
        expect(
          await dataSource.query(
            `SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace`,
          ),
        ).toEqual([]);
        expect(await pendingChanges(dataSource)).toEqual([]);
        expect(await readCatalog(dataSource, schema)).toEqual(expectedCatalog());
        while ((await dataSource.query(`SELECT FROM ${quoted}.migrations`)).length > 0) {
          await dataSource.undoLastMigration();
        }
        expect(await readCatalog(dataSource, schema)).toEqual(expectedCatalog(0));
      } finally {
        await dataSource.destroy();
        await database.drop();
      }
    },
  );

  it('works for the services, beside another copy of the tables', async () => {
    const h = await openHarness();
    await h.dataSource.query('CREATE SCHEMA other');
    const dataSource = await open(h.url, 'other');
    try {
      await dataSource.runMigrations();
      const there = { jobs: new JobService(dataSource), log: new NotificationService(dataSource) };
      const users = dataSource.getRepository(User);
      const { userId } = await users.save(
        users.create({ username: 'a', email: 'a@example.com', passwordHash: 'x' }),
      );
      const content = { userId, filename: 'f', videoUrl: 's3://b/k' };
      await expect(h.jobs.createJob(content)).rejects.toMatchObject({ code: 'USER_NOT_FOUND' });
      await there.jobs.createJob(content);
      const [job] = await there.jobs.claimJobs();
      if (job === undefined) throw new Error('Nothing was claimed.');
      const { notification } = await there.jobs.completeJob(job, {
        resultUrl: 's3://b/r',
        frameCount: 1,
      });
      expect((await there.log.listNotifications()).notifications).toEqual([notification]);
      expect(
        await dataSource.getRepository(NotificationLog).findOneOrFail({
          where: { job: { user: { userId } } },
          relations: { job: { user: true } },
        }),
      ).toMatchObject({
        ...notification,
        job: { jobId: job.jobId, user: { email: 'a@example.com' } },
      });
      expect(await h.dataSource.getRepository(VideoJob).count()).toBe(0);
    } finally {
      await dataSource.destroy();
      await h.close();
    }
  });
});
