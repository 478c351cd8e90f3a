/**
 * How the TypeScript blocks of the README are used, by file or by place. A block without a use fails
 * the test: add one here when you add a block.
 *
 * A block that is a file is imported by its use, which is a program of its own with DATABASE_URL
 * naming an empty database. Any other block runs in the context below, and then its use, which
 * checks what it did.
 */
export const USES: Record<string, string> = {
  'src/app.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    import { AppModule } from './app.module.js';
    await withApp(AppModule, async (app) => {
      assert.deepEqual((await app.get(JobService).listJobs()).jobs, []);
    });`,

  'src/upload.service.ts': `
    import { User } from '@frameforge/shared-types';
    import { Module } from '@nestjs/common';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { AppModule } from './app.module.js';
    import { UploadService } from './upload.service.js';
    @Module({ imports: [AppModule], providers: [UploadService] })
    class Uploads {}
    await withApp(Uploads, async (app) => {
      const email = 'ada@example.com';
      await app.get(getRepositoryToken(User)).save({ username: 'ada', email, passwordHash: '?' });
      const job = await app.get(UploadService).upload(email, 'cat.mp4');
      assert.equal(job.status, 'pending');
    });`,

  'The life of a job 2': `
    const { pending, completed } = await jobs.countJobs();
    assert.deepEqual({ pending, completed }, { pending: 0, completed: 2 });`,

  'The life of a job 3': `
    const told = (await notifications.listNotifications()).notifications;
    assert.deepEqual(told.map(({ deliveryStatus }) => deliveryStatus), ['sent']);`,

  'Transactions 1': `
    const [row] = await dataSource.query(
      'SELECT count(*)::int AS both FROM invoices JOIN video_jobs USING ("jobId")',
    );
    assert.equal(row.both, 1);`,

  'src/main.ts': `
    process.env.PORT = '0';
    const { app } = await import('./main.js');
    assert.equal((await fetch(await app.getUrl())).status, 404);
    await app.close();`,

  'src/worker.module.ts': `
    import { JobService, NotificationService, User } from '@frameforge/shared-types';
    import { getRepositoryToken } from '@nestjs/typeorm';
    import { WorkerModule } from './worker.module.js';
    await withApp(WorkerModule, async (app) => {
      const email = 'ada@example.com';
      const { userId } = await app
        .get(getRepositoryToken(User), { strict: false })
        .save({ username: 'ada', email, passwordHash: '?' });
      const video = { userId, filename: 'cat.mp4', videoUrl: 's3://uploads/cat.mp4' };
      const { jobId } = await app.get(JobService).createJob(video);
      const sent = async () =>
        (await app.get(NotificationService).listNotifications({ jobId, deliveryStatus: 'sent' as never }))
          .notifications;
      while ((await sent()).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal((await app.get(JobService).getJob(jobId)).frameCount, 240);
    });`,

  'src/async.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    import { AppModule } from './async.module.js';
    await withApp(AppModule, async (app) => {
      assert.deepEqual((await app.get(JobService).listJobs()).jobs, []);
    });`,

  'src/feature.module.ts': `
    import { JobService } from '@frameforge/shared-types';
    import { AppModule } from './feature.module.js';
    await withApp(AppModule, async (app) => {
      assert.deepEqual((await app.get(JobService).listJobs()).jobs, []);
    });`,

  'src/archive.module.ts': `
    import { Archive, ArchiveModule } from './archive.module.js';
    await withApp(ArchiveModule, async (app) => {
      const archive = app.get(Archive);
      assert.deepEqual((await archive.jobs.listJobs()).jobs, []);
      assert.equal(await archive.videoJobs.count(), 0);
    });`,

  'src/health.module.ts': `
    import { Module } from '@nestjs/common';
    import { NestFactory } from '@nestjs/core';
    import { AppModule } from './app.module.js';
    import { HealthModule } from './health.module.js';
    @Module({ imports: [AppModule, HealthModule] })
    class Application {}
    const app = await NestFactory.create(Application, { logger: ['error'] });
    await app.listen(0);
    const answer = await (await fetch((await app.getUrl()) + '/health')).json();
    assert.equal(answer.details.database.status, 'up');
    assert.deepEqual(answer.details.database.pendingMigrations, []);
    await app.close();`,

  'PostgreSQL for development 2': `
    await assert.rejects(new DataSource({ type: 'postgres', url: server.url }).initialize());`,
};

/** What every use has: a way to boot a module, and assertions. */
export const SUPPORT = `
import 'reflect-metadata';
import type { INestApplicationContext, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

export async function withApp(
  module: Type,
  use: (app: INestApplicationContext) => Promise<void>,
): Promise<void> {
  const app = await NestFactory.createApplicationContext(module, { logger: ['error'] });
  await use(app);
  await app.close();
}
`;

/** The context of the blocks that are not files: a user, a job that is due, and one that is done. */
export const CONTEXT = `
import { JobService, NotificationService, User } from '@frameforge/shared-types';
import { DataSource } from 'typeorm';
import { AppModule } from './app.module.js';
import { withApp } from './support.js';

export interface Context {
  jobs: JobService;
  notifications: NotificationService;
  dataSource: DataSource;
  userId: string;
}

export const inContext = (use: (context: Context) => Promise<void>): Promise<void> =>
  withApp(AppModule, async (app) => {
    const [jobs, dataSource] = [app.get(JobService), app.get(DataSource)];
    const notifications = app.get(NotificationService);
    const { userId } = await dataSource
      .getRepository(User)
      .save({ username: 'ada', email: 'ada@example.com', passwordHash: '?' });
    const video = { userId, filename: 'cat.mp4', videoUrl: 's3://uploads/cat.mp4' };
    const done = await jobs.startJob((await jobs.createJob(video)).jobId);
    await jobs.completeJob(done, { resultUrl: 's3://frames/cat.zip', frameCount: 1 });
    await jobs.createJob(video);
    await dataSource.query('CREATE TABLE invoices ("jobId" uuid REFERENCES video_jobs)');
    await use({ jobs, notifications, dataSource, userId });
  });
`;

/** The program that uses a block. Imports stand first, wherever they were written. */
export function programOf(block: { text: string; file?: string }, use: string): string {
  const code = block.file === undefined ? `${block.text}\n${use}` : use;
  const imports = [...code.matchAll(/^\s*import [^;]*from [^;]+;$/gm)].map(([line]) => line.trim());
  const statements = code.replaceAll(/^\s*import [^;]*from [^;]+;$/gm, '');
  const head = [
    `import assert from 'node:assert/strict';`,
    `import { DataSource } from 'typeorm';`,
    `import { withApp } from './support.js';`,
  ];
  if (block.file !== undefined) return [...head, ...imports, statements].join('\n');
  return [
    ...head,
    `import { inContext } from './context.js';`,
    ...imports,
    `await inContext(async ({ jobs, notifications, dataSource, userId }) => {`,
    statements,
    `});`,
  ].join('\n');
}
