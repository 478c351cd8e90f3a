import { Module } from '@nestjs/common';
import type { INestApplication, ModuleMetadata, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { Client } from 'pg';
import type { EntitySubscriberInterface } from 'typeorm';
import { Column, DataSource, Entity, EventSubscriber, PrimaryGeneratedColumn } from 'typeorm';
import { FrameForgeDatabaseModule } from '../../src/database.module.js';
import type { FrameForgeFeatureOptions } from '../../src/database.module.js';
import { ConfigurationError, DatabaseUnavailableError } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { WAKE_UP_CHANNEL } from '../../src/jobs/wake-up.sender.js';
import { migrate } from '../../src/migrations/migrate.js';
import { poolsOf } from '../../src/peers/typeorm.internals.js';
import { frameForgeEntities, VideoJob } from '../../src/schema/entities/index.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { Proxy } from '../support/proxy.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';

let h: Harness;
let userId: string;
const apps: INestApplication[] = [];
beforeAll(async () => {
  h = await openHarness();
  ({ userId } = await h.user());
});
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});
afterAll(() => h.close());

async function boot(imports: ModuleMetadata['imports']): Promise<INestApplication> {
  const module = await Test.createTestingModule({ imports }).compile();
  const app = module.createNestApplication({ logger: false });
  apps.push(app);
  return app.init();
}

const content = () => ({ userId, filename: 'f', videoUrl: 's3://b/k' });

/** A data source that the application opens itself. */
const theirs = (options: object = {}) =>
  TypeOrmModule.forRoot({
    type: 'postgres',
    url: h.url,
    entities: frameForgeEntities,
    installExtensions: false,
    ...options,
  });

/** Modules of an application, each of which imports what it uses. */
function features(count: number, options?: FrameForgeFeatureOptions): Type[] {
  return Array.from({ length: count }, () => {
    @Module({ imports: [FrameForgeDatabaseModule.forFeature(options)] })
    class FeatureModule {}
    return FeatureModule;
  });
}

describe('a stale save is refused, and the list of subscribers has one for each entity', () => {
  /** A subscriber of the application's own. */
  class Counting implements EntitySubscriberInterface {
    static updates = 0;
    beforeUpdate(): void {
      Counting.updates += 1;
    }
  }
  EventSubscriber()(Counting);
  const ways: [what: string, name: string | undefined, imports: () => ModuleMetadata['imports']][] =
    [
      ['forRoot', undefined, () => [FrameForgeDatabaseModule.forRoot({ url: h.url })]],
      [
        'a named forRoot with forFeature and a subscriber',
        'jobs',
        () => [
          FrameForgeDatabaseModule.forRoot({ name: 'jobs', url: h.url, subscribers: [Counting] }),
          ...features(2, { dataSource: 'jobs' }),
        ],
      ],
      ['forFeature in two modules', undefined, () => [theirs(), ...features(2)]],
      [
        'forFeature beside a subscriber',
        undefined,
        () => [theirs({ subscribers: [Counting] }), ...features(1)],
      ],
    ];

  it.each(ways)('%s', async (what, name, imports) => {
    const app = await boot(imports());
    const dataSource = app.get<DataSource>(getDataSourceToken(name));
    const repository = dataSource.getRepository(VideoJob);
    const { jobId } = await h.jobs.createJob(content());
    const stale = await repository.findOneByOrFail({ jobId });
    await h.jobs.cancelJob(jobId);
    await expect(repository.save(stale)).rejects.toMatchObject({ code: 'STALE_ENTITY' });
    const own = what.endsWith('subscriber') ? 1 : 0;
    const { subscribers } = dataSource;
    expect(subscribers.filter(({ beforeUpdate }) => beforeUpdate)).toHaveLength(2 + own);
    const before = Counting.updates;
    await repository.save({ jobId, filename: 'dog.mp4' });
    expect(Counting.updates).toBe(before + own);
  });
});

describe('forFeature in twelve modules', () => {
  it('makes one service, one worker id and one listener for a data source', async () => {
    const modules = features(12);
    const app = await boot([theirs(), ...modules]);
    const services = modules.map((module) => app.select(module).get(JobService, { strict: false }));
    expect(new Set(services).size).toBe(1);
    const [pool] = poolsOf(app.get<DataSource>(getDataSourceToken()));
    const { listenerCount } = pool as unknown as { listenerCount(event: string): number };
    expect(listenerCount.call(pool, 'connect')).toBe(1);
    expect(listenerCount.call(pool, 'acquire')).toBe(1);
  });

  it('shares those of forRoot if both have the same name', async () => {
    const [feature] = features(1, { dataSource: 'jobs' });
    const app = await boot([
      FrameForgeDatabaseModule.forRoot({ name: 'jobs', url: h.url }),
      feature!,
    ]);
    const services = app.get<JobService, unknown[]>(JobService, { strict: false, each: true });
    expect(services).toHaveLength(2);
    expect(new Set(services).size).toBe(1);
  });

  it('waits only once for running calls when the application ends', async () => {
    const app = await boot([theirs(), ...features(3)]);
    const dataSource = app.get<DataSource>(getDataSourceToken());
    const slow = dataSource.query('SELECT pg_sleep(0.3)');
    await app.close();
    await expect(slow).resolves.toHaveLength(1);
  });
});

describe('replyTimeoutMs', () => {
  it.each<[string, (url: string) => NonNullable<ModuleMetadata['imports']>]>([
    ['forRoot', (url) => [FrameForgeDatabaseModule.forRoot({ url, replyTimeoutMs: 200 })]],
    [
      'forFeature',
      (url) => [theirs({ url }), FrameForgeDatabaseModule.forFeature({ replyTimeoutMs: 200 })],
    ],
  ])('of %s bounds the wait for a server that is silent', async (_, imports) => {
    const proxy = await Proxy.start(h.url);
    const app = await boot(imports(proxy.url));
    const jobs = app.get(JobService, { strict: false });
    // The pool has an open connection, which goes silent.
    await app.get(DataSource).query('SELECT 1');
    proxy.freeze();
    const error = await jobs.createJob(content()).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DatabaseUnavailableError);
    expect((error as Error).message).toContain('the server did not reply within 200 ms');
    proxy.cut();
    await app.close();
    apps.length = 0;
    await proxy.stop();
  });

  it('must be a time', () => {
    expect(() => FrameForgeDatabaseModule.forFeature({ replyTimeoutMs: 0 })).toThrow(
      '`replyTimeoutMs` must be a whole number of milliseconds from 1 to 2147483647',
    );
  });
});

async function listen(): Promise<{ heard: string[]; end: () => Promise<void> }> {
  const client = new Client({ connectionString: onServer(h.url) });
  await client.connect();
  const heard: string[] = [];
  client.on('notification', ({ payload }) => heard.push(payload ?? ''));
  await client.query(`LISTEN ${WAKE_UP_CHANNEL}`);
  return { heard, end: () => client.end() };
}

// These tests connect to the server itself, because a pooler gives no session for LISTEN.
describe('wake-ups', () => {
  it('that are pending when the application ends are still sent', async () => {
    const { heard, end } = await listen();
    for (let times = 1; times <= 5; times++) {
      const app = await boot([
        FrameForgeDatabaseModule.forRoot({ url: h.url, notifyWorkers: true }),
      ]);
      const jobs = app.get(JobService);
      await jobs.createJob(content());
      await until(() => heard.length === 2 * times - 1);
      // This wake-up is held back, because another one was just sent.
      await jobs.createJob(content());
      await app.close();
      await until(() => heard.length === 2 * times);
    }
    await end();
  });

  it('are sent by forFeature, once for all modules', async () => {
    const { heard, end } = await listen();
    const modules = features(3, { notifyWorkers: true });
    const app = await boot([theirs(), ...modules]);
    await app.get(JobService, { strict: false }).createJob(content());
    await app.close();
    await until(() => heard.length > 0);
    expect(heard).toEqual(['jobs']);
    await end();
  });
});

const inSchema = (): string => `${h.url}${h.url.includes('?') ? '&' : '?'}schema=app`;

describe('a schema in the URL of a data source, which TypeORM ignores, is refused by name', () => {
  const refusal = "the URL names the schema 'app', which TypeORM does not read: use `schema`.";
  const addresses: [where: string, options: () => object][] = [
    ['the URL', () => ({ url: inSchema() })],
    [
      'the URL of a master',
      () => ({ url: undefined, replication: { master: { url: inSchema() }, slaves: [] } }),
    ],
    [
      'the URL of a slave',
      () => ({
        url: undefined,
        replication: { master: { url: h.url }, slaves: [{ url: inSchema() }] },
      }),
    ],
  ];

  it.each(addresses)('by forFeature: %s', async (_, options) => {
    const imports = [theirs(options()), FrameForgeDatabaseModule.forFeature()];
    await expect(boot(imports)).rejects.toThrow(refusal);
    await expect(boot([theirs({ ...options(), schema: 'public' }), imports[1]!])).rejects.toThrow(
      refusal,
    );
  });

  it.each(addresses)('by migrate(): %s', async (_, options) => {
    const given = { url: h.url, entities: frameForgeEntities, migrations: frameForgeMigrations };
    const dataSource = new DataSource({ type: 'postgres', ...given, ...options() } as never);
    await dataSource.initialize();
    try {
      await expect(migrate(dataSource)).rejects.toThrow(refusal);
      await expect(migrate(dataSource)).rejects.toBeInstanceOf(ConfigurationError);
    } finally {
      await dataSource.destroy();
    }
  });

  it('is no matter where `schema` says so, too', async () => {
    const schema = 'app';
    await h.dataSource.query(`CREATE SCHEMA IF NOT EXISTS "${schema}"`);
    const given = { entities: frameForgeEntities, migrations: frameForgeMigrations };
    const dataSource = new DataSource({ type: 'postgres', url: inSchema(), schema, ...given });
    await dataSource.initialize();
    try {
      await migrate(dataSource, { logger: { log() {}, warn() {} } });
      expect(await dataSource.getRepository(VideoJob).count()).toBe(0);
    } finally {
      await dataSource.destroy();
    }
  });
});

describe('an entity class of the application with the name of an entity of this package', () => {
  @Entity('their_users')
  class User {
    @PrimaryGeneratedColumn('uuid')
    id!: string;
    @Column()
    name!: string;
  }

  @Module({ imports: [TypeOrmModule.forFeature([User])] })
  class Users {}

  it.each<[string, () => NonNullable<ModuleMetadata['imports']>]>([
    ['forRoot', () => [FrameForgeDatabaseModule.forRoot({ url: h.url, entities: [User] })]],
    [
      'forRoot, with the repository of the application',
      () => [FrameForgeDatabaseModule.forRoot({ url: h.url, entities: [User] }), Users],
    ],
    [
      'forRoot, which loads entities by itself',
      () => [FrameForgeDatabaseModule.forRoot({ url: h.url, autoLoadEntities: true }), Users],
    ],
    [
      'forFeature',
      () => [
        theirs({ entities: [...frameForgeEntities, User] }),
        FrameForgeDatabaseModule.forFeature(),
      ],
    ],
    [
      'forFeature, on a data source that loads entities by itself',
      () => [
        theirs({ entities: [], autoLoadEntities: true }),
        Users,
        FrameForgeDatabaseModule.forFeature(),
      ],
    ],
  ])('is refused by name: %s', async (_, imports) => {
    const error = await boot(imports()).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      name: 'ConfigurationError',
      message:
        'The application and this package both have an entity class User on the same data source. ' +
        'Nest finds repositories by the name of the class, so @InjectRepository(User) could get either ' +
        "of them. Rename the application's class, and keep its table with @Entity('their_users'). " +
        'Or give this package its own data source: ' +
        "FrameForgeDatabaseModule.forRoot({ name: 'frameforge' }).",
    });
  });

  it('is allowed on another data source', async () => {
    const app = await boot([
      theirs({ entities: [User] }),
      FrameForgeDatabaseModule.forRoot({ url: h.url, name: 'frameforge' }),
    ]);
    await expect(app.get(JobService, { strict: false }).countJobs()).resolves.toBeDefined();
  });
});
