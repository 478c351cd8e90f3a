import { cpSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { query } from '../support/query.js';
import { createDatabase } from '../support/server.js';
import type { TestDatabase } from '../support/server.js';
import {
  ConsumerProject,
  current,
  ENTRIES,
  oldest,
  OPTIONAL_PEERS,
  REPOSITORY,
  REQUIRED_PEERS,
  runOk,
  SAME,
} from './consumer.project.js';
import { packPackage } from './packed.package.js';
import type { PackedPackage } from './packed.package.js';

const NODE_TYPES = current('@types/node');

/** A service that adopts the package, as its author would write it. */
const APP = `
import 'reflect-metadata';
import { FrameForgeDatabaseModule, JobService, User, VideoJob } from '@frameforge/shared-types';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';

@Injectable()
class Uploads {
  constructor(
    private readonly jobs: JobService,
    @InjectRepository(User) private readonly users: Repository<User>,
    @InjectRepository(VideoJob) private readonly rows: Repository<VideoJob>,
  ) {}

  /** Saves an entity that is older than what happened to its job. */
  async saveLate(jobId: string): Promise<string> {
    const stale = await this.rows.findOneByOrFail({ jobId });
    await this.jobs.cancelJob(jobId);
    return this.rows.save(stale).then(
      () => 'saved',
      (error: { code: string }) => error.code,
    );
  }

  async upload(): Promise<VideoJob> {
    const user = await this.users.save(
      this.users.create({ username: 'ada', email: 'ada@example.com', passwordHash: 'secret' }),
    );
    return this.jobs.createJob({
      userId: user.userId,
      filename: 'cat.mp4',
      videoUrl: 's3://uploads/cat.mp4',
    });
  }
}

@Module({
  imports: [FrameForgeDatabaseModule.forRoot({ url: process.env['DATABASE_URL'] })],
  providers: [Uploads],
})
class AppModule {}

async function main(): Promise<void> {
  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
  const job = await app.get(Uploads).upload();
  const again = await app.get(JobService).getJob(job.jobId, { userId: job.userId });
  const late = await app.get(Uploads).saveLate(job.jobId);
  await app.close();
  process.stdout.write(JSON.stringify({ same: again instanceof VideoJob, late, ...again }));
}

void main();
`;

/** An application that links the package, as `npm link` does, and has its own copy of Nest. */
const LINKING = `
import { FrameForgeDatabaseModule } from '@frameforge/shared-types';
import { NestFactory } from '@nestjs/core';
import { Module } from '@nestjs/common';

class AppModule {}
Module({ imports: [FrameForgeDatabaseModule.forRoot({ url: 'postgres://127.0.0.1:1/none' })] })(AppModule);
await NestFactory.createApplicationContext(AppModule, { abortOnError: false });
`;

/** An application that asks for its health. */
const HEALTH = `
import 'reflect-metadata';
import { FrameForgeDatabaseModule } from '@frameforge/shared-types';
import { FrameForgeHealthIndicator } from '@frameforge/shared-types/health';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';

class AppModule {}
Module({
  imports: [FrameForgeDatabaseModule.forRoot({ url: process.env.DATABASE_URL }), TerminusModule.forRoot()],
  providers: [FrameForgeHealthIndicator],
})(AppModule);
const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
const result = await app.get(FrameForgeHealthIndicator).isHealthy('database');
await app.close();
process.stdout.write(JSON.stringify(result));
`;

/** A test file in which two copies of the package meet. */
const MEETING = `
require('reflect-metadata');
const { FrameForgeDatabaseModule } = require('@frameforge/shared-types');

it('says so', async () => {
  FrameForgeDatabaseModule.forRoot();
  await import('@frameforge/shared-types');
  expect(() => FrameForgeDatabaseModule.forRoot()).toThrow(
    /^This process has loaded @frameforge.shared-types twice: once with import, once with require/,
  );
});
`;

/** The snippet of the document that the migrations came with, its entities filled in. */
const SNIPPET = `
import { DataSource } from 'typeorm';
import * as migrations from '@frameforge/shared-types';

const dataSource = new DataSource({
  type: 'postgres',
  host: process.env.DB_HOST,
  port: parseInt(process.env.DB_PORT || '5432'),
  username: process.env.DB_USER,
  password: process.env.DB_PASSWORD,
  database: process.env.DB_NAME,
  entities: [migrations.User, migrations.VideoJob, migrations.NotificationLog],
  migrations: [
    migrations.CreateUsersTable1700000001000,
    migrations.CreateVideoJobsTable1700000002000,
    migrations.CreateNotificationLogTable1700000003000,
  ],
  synchronize: false, // Always use migrations in production
  logging: true,
});

// Initialize and run migrations
await dataSource.initialize();
await dataSource.runMigrations();
`;

/** Compiles if each format's types are assignable to the other's, in every entry point. */
const BOTH_FORMATS = ENTRIES.map((entry, index) => {
  const typeIn = (mode: string): string =>
    `typeof import('${entry}', { with: { 'resolution-mode': '${mode}' } })`;
  return `
declare let imported${index}: ${typeIn('import')};
declare let required${index}: ${typeIn('require')};
export const check${index} = (): void => {
  imported${index} = required${index};
  required${index} = imported${index};
};`;
});

/** Long, because a registry may be slow. */
const INSTALLING_MS = 300_000;
/** Long, because each of several commands is a process that loads TypeORM, and a machine may be slow. */
const COMMANDS_MS = 180_000;

let packed: PackedPackage;
let database: TestDatabase;
let project: ConsumerProject;
beforeAll(async () => {
  packed = await packPackage();
}, INSTALLING_MS);
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(() => database.drop());

const environment = () => ({ DATABASE_URL: database.url });

async function appliedMigrations(): Promise<unknown[]> {
  const rows = await query(database.url, 'SELECT name FROM migrations ORDER BY id');
  return rows.map(({ name }) => name);
}

/** The output of `migration:show`: whether each migration has run. */
const shown = (output: string): string[] =>
  [...output.matchAll(/\[(X| )\] (?:\d+ )?(\w+)/g)].map(([, mark, name]) => `${mark} ${name}`);

/** TypeORM's command line: shows, runs and reverts the migrations through the shipped data source. */
async function typeormCommands(directory: string, dataSource: string): Promise<void> {
  const typeorm = (command: string): Promise<string> =>
    runOk(directory, ['npx', 'typeorm', `migration:${command}`, '-d', dataSource], environment());
  const known = frameForgeMigrations.map(({ name }) => name);

  expect(shown(await typeorm('show'))).toEqual(known.map((name) => `  ${name}`));
  await typeorm('run');
  expect(await appliedMigrations()).toEqual(known);
  await typeorm('revert');
  expect(await appliedMigrations()).toEqual(known.slice(0, -1));
  expect(shown(await typeorm('show'))).toEqual(
    known.map((name, index) => `${index < known.length - 1 ? 'X' : ' '} ${name}`),
  );
}

async function createsAJob(): Promise<void> {
  const stdout = await project.runOk(['node', 'dist/main.js'], environment());
  expect(JSON.parse(stdout)).toMatchObject({
    same: true,
    late: 'STALE_ENTITY',
    filename: 'cat.mp4',
    status: 'pending',
  });
}

/** However a process loads the package, it must get one copy of each class. */
async function hasOneCopy(entries: readonly string[]): Promise<void> {
  project.write('same.cjs', SAME);
  const stdout = await project.runOk(['node', 'same.cjs', ...entries], environment());
  const { different, count } = JSON.parse(stdout) as { different: string[]; count: number };
  expect(different).toEqual([]);
  expect(count).toBeGreaterThan(40);
}

describe('an ES module application, with today’s versions and all optional peers', () => {
  beforeAll(async () => {
    const peers = [...REQUIRED_PEERS, ...OPTIONAL_PEERS];
    project = await ConsumerProject.create('module', [
      packed.tarball,
      NODE_TYPES,
      ...peers.map(current),
    ]);
    project.write('src/main.ts', APP);
    project.write('src/snippet.ts', SNIPPET);
    // This makes the compiler read the declarations of every entry point.
    project.write(
      'src/entries.ts',
      ENTRIES.map((entry, index) => `export * as entry${index} from '${entry}';`).join('\n'),
    );
    project.write('src/both-formats.ts', BOTH_FORMATS.join('\n'));
    await project.compile();
  }, INSTALLING_MS);
  afterAll(() => project?.remove());

  it('boots and creates a job', createsAJob);

  it('holds one copy of each class', () => hasOneCopy(ENTRIES));

  it('runs the snippet of the migrations document', async () => {
    const { username, password, hostname, port, pathname } = new URL(database.url);
    await project.runOk(['node', 'dist/snippet.js'], {
      DB_HOST: hostname,
      DB_PORT: port,
      DB_USER: username,
      DB_PASSWORD: password,
      DB_NAME: pathname.slice(1),
    });
    expect(await appliedMigrations()).toEqual([
      'CreateUsersTable1700000001000',
      'CreateVideoJobsTable1700000002000',
      'CreateNotificationLogTable1700000003000',
    ]);
  });

  it(
    'runs the commands of TypeORM',
    () =>
      typeormCommands(
        project.directory,
        'node_modules/@frameforge/shared-types/dist/connection/data-source.js',
      ),
    COMMANDS_MS,
  );

  it('reports health where the application and the package have different copies of TypeORM', async () => {
    const copy = 'node_modules/@frameforge/shared-types/node_modules/typeorm';
    cpSync(join(project.directory, 'node_modules/typeorm'), join(project.directory, copy), {
      recursive: true,
    });
    project.write('health.mjs', HEALTH);
    try {
      const stdout = await project.runOk(['node', 'health.mjs'], environment());
      expect(JSON.parse(stdout)).toMatchObject({
        database: { status: 'up', pendingMigrations: [] },
      });
    } finally {
      rmSync(join(project.directory, copy), { recursive: true });
    }
  });

  it('logs that a link has led to two copies of Nest', async () => {
    const installed = join(project.directory, 'node_modules/@frameforge/shared-types');
    rmSync(installed, { recursive: true });
    symlinkSync(packed.checkout, installed);
    project.write('linking.mjs', LINKING);
    const { code, stdout, stderr } = await project.run(['node', 'linking.mjs']);
    expect(code).toBe(1);
    expect(stdout + stderr).toContain(
      '@frameforge/shared-types is linked, and has another @nestjs/core',
    );
    expect(stdout + stderr).toContain('install what npm pack makes');
    // This checks the error of Nest and the names in the warning.
    expect(stderr).toMatch(/can't resolve dependencies of the TypeOrmCoreModule/);
  });
});

it(
  'runs the commands of TypeORM in a checkout',
  () => typeormCommands(packed.checkout, 'dist/connection/data-source.js'),
  COMMANDS_MS,
);

describe('a CommonJS application, with the oldest versions and no optional peer', () => {
  beforeAll(async () => {
    const peers = REQUIRED_PEERS.map(oldest);
    project = await ConsumerProject.create('commonjs', [packed.tarball, NODE_TYPES, ...peers]);
    project.write('src/main.ts', APP);
    await project.compile();
  }, INSTALLING_MS);
  afterAll(() => project?.remove());

  it('has no optional peer installed', () => {
    expect(OPTIONAL_PEERS.length).toBeGreaterThan(0);
    expect(OPTIONAL_PEERS.filter((peer) => project.has(`node_modules/${peer}`))).toEqual([]);
  });

  it('boots and creates a job', createsAJob);

  it('holds one copy of each class', () =>
    hasOneCopy(ENTRIES.filter((entry) => !entry.endsWith('/health'))));

  it('says that two copies meet where Node cannot require ES modules', async () => {
    project.write(
      'twice.cjs',
      `require('reflect-metadata');
      const { FrameForgeDatabaseModule } = require('@frameforge/shared-types');
      import('@frameforge/shared-types').then(() => FrameForgeDatabaseModule.forRoot());`,
    );
    const twice = ['node', '--no-experimental-require-module', 'twice.cjs'] as const;
    const { code, stderr } = await project.run(twice);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /ConfigurationError: This process has loaded @frameforge\/shared-types twice/,
    );
    // Where only the CommonJS build is loaded, everything works.
    const alone = `require('@frameforge/shared-types').FrameForgeDatabaseModule.forRoot()`;
    await project.runOk(['node', '--no-experimental-require-module', '-e', alone]);
  });

  it('says that two copies meet in Jest with modules of both kinds', async () => {
    project.write('meeting.test.js', MEETING);
    project.write('jest.config.json', JSON.stringify({ testMatch: ['**/meeting.test.js'] }));
    // The Jest of this repository is used, which saves an installation.
    const jest = join(REPOSITORY, 'node_modules/jest/bin/jest.js');
    const { code, stderr } = await project.run(['node', '--experimental-vm-modules', jest]);
    expect(stderr).toContain('1 passed, 1 total');
    expect(code).toBe(0);
  });

  it(
    'is told which version of terminus the health indicator needs, where it has an older one',
    async () => {
      await project.install(['@nestjs/terminus@10.2.3']);
      const health = ['node', '-e', `require('@frameforge/shared-types/health')`] as const;
      const { code, stderr } = await project.run(health);
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /ConfigurationError: @frameforge\/shared-types\/health needs @nestjs\/terminus 11 or later.*npm install @nestjs\/terminus@11/,
      );
      await project.install(['@nestjs/terminus@11']);
      await project.runOk(health);
    },
    INSTALLING_MS,
  );
});
