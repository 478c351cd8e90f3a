import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DataSource } from 'typeorm';
import { FrameForgeDatabaseModule, frameForgeMigrations, JobService } from '../../dist/index.js';
import type { FrameForgeWorkerOptions, JobContext } from '../../dist/worker/index.js';
import { CONNECTIONS } from '../config.ts';
import { OWN } from '../harness/build.ts';
import type { Build } from '../harness/build.ts';
import type { Bench } from '../harness/scenario.ts';
import { createUsers, RESULT } from './fixtures.ts';

export const HOW = `\`JobService\` in a Nest application whose pool has ${CONNECTIONS} connections, as many calls at once as connections`;

const LOGGER = { logger: ['error' as const], abortOnError: false };

export interface FrameForge {
  readonly url: string;
  readonly users: string[];
  readonly jobs: JobService;
}

/**
 * Opens this package on a separate database, as an application does.
 *
 * @param users - how many users there are
 */
export async function openFrameForge(
  bench: Bench,
  users = bench.profile.users,
): Promise<FrameForge> {
  const url = await bench.createDatabase();
  const database = FrameForgeDatabaseModule.forRoot({ url, poolSize: CONNECTIONS });
  const app = await NestFactory.createApplicationContext(database, LOGGER);
  bench.onEnd(() => app.close());
  return { url, users: await createUsers(url, users), jobs: app.get(JobService) };
}

/**
 * Creates a database with the tables of this package, for another subject.
 *
 * @param migrations - the migrations to run; default: all of this package
 */
export async function createMigratedDatabase(
  bench: Bench,
  migrations: readonly (new () => object)[] = frameForgeMigrations,
): Promise<{ readonly url: string; readonly users: string[] }> {
  const url = await bench.createDatabase();
  const dataSource = new DataSource({ type: 'postgres', url, migrations: [...migrations] });
  await dataSource.initialize();
  await dataSource.runMigrations();
  await dataSource.destroy();
  return { url, users: await createUsers(url, bench.profile.users) };
}

export interface Worker {
  /** A time before the first claim of the worker, on the monotonic clock. */
  readonly startedAt: number;
  readonly jobs: JobService;
  completed(): number;
  close(): Promise<void>;
}

/** The work of a handler. */
interface Work {
  readonly workMs?: number;
  readonly steps?: number;
}

/**
 * Starts an application that processes jobs with a handler that does nothing.
 *
 * @param concurrency - how many jobs it works on at once
 * @param build - the build of the package to use
 * @param options - of its worker; `workMs`: how long the handler does nothing; `steps`: at how many steps it
 *   reports its progress
 */
export async function startWorker(
  url: string,
  concurrency: number,
  build: Build = OWN,
  { workMs, steps = 0, ...options }: FrameForgeWorkerOptions & Work = {},
): Promise<Worker> {
  const { FrameForgeWorker, FrameForgeWorkerModule, VideoJobProcessor } = build.worker;
  let startedAt = NaN;
  class EmptyHandler {
    onModuleInit(): void {
      startedAt = performance.now();
    }

    async process(_job: unknown, context: JobContext): Promise<typeof RESULT> {
      for (let step = 1; step <= steps; step += 1) {
        context.progress((100 * step) / steps, `step ${step} of ${steps}`);
      }
      if (workMs !== undefined) await sleep(workMs);
      return RESULT;
    }
  }
  VideoJobProcessor({ concurrency })(EmptyHandler);
  class WorkerApplication {}
  const application: DynamicModule = {
    module: WorkerApplication,
    imports: [
      build.database.FrameForgeDatabaseModule.forRoot({ url, poolSize: CONNECTIONS }),
      FrameForgeWorkerModule.forRoot(options),
    ],
    providers: [EmptyHandler],
  };
  Module({})(WorkerApplication);
  const app = await NestFactory.createApplicationContext(application, LOGGER);
  const worker = app.get(FrameForgeWorker);
  return {
    startedAt,
    jobs: app.get(build.database.JobService),
    completed: () => worker.stats().counts['jobs.completed'],
    close: () => app.close(),
  };
}
