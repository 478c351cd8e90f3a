// Makes the programs that use the TypeScript blocks of the documents.

/** The code that every use can call: a way to boot a module, and assertions. */
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
import { JobService, NotificationService, User, UserService } from '@frameforge/shared-types';
import { DataSource } from 'typeorm';
import { AppModule } from './readme/app.module.js';
import { withApp } from './support.js';

export interface Context {
  jobs: JobService;
  notifications: NotificationService;
  users: UserService;
  dataSource: DataSource;
  userId: string;
}

export const inContext = (use: (context: Context) => Promise<void>): Promise<void> =>
  withApp(AppModule, async (app) => {
    const [jobs, dataSource] = [app.get(JobService), app.get(DataSource)];
    const [notifications, users] = [app.get(NotificationService), app.get(UserService)];
    const { userId } = await dataSource
      .getRepository(User)
      .save({ username: 'ada', email: 'ada@example.com', passwordHash: '?' });
    const video = { userId, filename: 'cat.mp4', videoUrl: 's3://uploads/cat.mp4' };
    const done = await jobs.startJob((await jobs.createJob(video)).jobId);
    await jobs.completeJob(done, { resultUrl: 's3://frames/cat.zip', frameCount: 1 });
    await jobs.createJob(video);
    await dataSource.query('CREATE TABLE invoices ("jobId" uuid REFERENCES video_jobs)');
    await dataSource.query('CREATE TABLE thumbnails ("jobId" uuid REFERENCES video_jobs)');
    await dataSource.query('CREATE TABLE refusals ("userId" uuid)');
    await use({ jobs, notifications, users, dataSource, userId });
  });
`;

/** The names that a block that is not a file may use without an import. */
const MODULES: Record<string, string> = {
  FrameForgeDatabaseModule: '@frameforge/shared-types',
  JobService: '@frameforge/shared-types',
  JobStatus: '@frameforge/shared-types',
  LeaseLostError: '@frameforge/shared-types',
  User: '@frameforge/shared-types',
  FrameForgeWorkerModule: '@frameforge/shared-types/worker',
};

const isNamed = (text: string, name: string): boolean => new RegExp(`\\b${name}\\b`).test(text);

/** The imports for the names that the code uses and does not import itself. */
function missingImports(code: string, imports: readonly string[]): string[] {
  return Object.entries(MODULES)
    .filter(([name]) => isNamed(code, name) && !imports.some((line) => isNamed(line, name)))
    .map(([name, module]) => `import { ${name} } from '${module}';`);
}

/** The program that uses a block. Imports stand first, wherever they were written. */
export function programOf(block: { text: string; file?: string }, use: string): string {
  const code = block.file === undefined ? `${block.text}\n${use}` : use;
  const imports = [...code.matchAll(/^\s*import [^;]*from [^;]+;$/gm)].map(([line]) => line.trim());
  const statements = code.replaceAll(/^\s*import [^;]*from [^;]+;$/gm, '');
  const head = [
    `import assert from 'node:assert/strict';`,
    `import { DataSource } from 'typeorm';`,
    `import { setTimeout as sleep } from 'node:timers/promises';`,
    `import { withApp } from '../support.js';`,
  ];
  if (block.file !== undefined) return [...head, ...imports, statements].join('\n');
  return [
    ...head,
    `import { inContext } from '../context.js';`,
    ...imports,
    ...missingImports(statements, imports),
    `await inContext(async ({ jobs, notifications, users, dataSource, userId }) => {`,
    statements,
    `});`,
  ].join('\n');
}
