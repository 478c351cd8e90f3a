// npm run bench:watching
//
// Measures how long it takes until a process learns of a change that another process has made, from the reply to that
// call. There are a watcher with `listen`, a watcher without it, and a worker with `listen` whose job is cancelled.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { INestApplicationContext } from '@nestjs/common';
import { FrameForgeDatabaseModule } from '../../../src/database.module.js';
import type { FrameForgeDatabaseOptions } from '../../../src/database.options.js';
import { JobService } from '../../../src/jobs/job.service.js';
import type { VideoJob } from '../../../src/schema/entities/index.js';
import { openHarness } from '../../support/harness.js';
import { until } from '../../support/until.js';
import { bootWorker, RESULT } from '../../worker/app.js';
import { HOUR_MS, video } from '../fixtures.js';

const CHANGES = 150;
const CANCELLATIONS = 150;
/** The number of other jobs that are watched in the same process. */
const WATCHERS = 1_000;

const now = (): number => performance.timeOrigin + performance.now();
const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function boot(options: FrameForgeDatabaseOptions): Promise<INestApplicationContext> {
  @Module({ imports: [FrameForgeDatabaseModule.forRoot(options)] })
  class App {}
  return NestFactory.createApplicationContext(App, { logger: ['error'] });
}

/** The orders for the other process. */
type Request = { readonly cancel: string } | { readonly job: VideoJob; readonly percent: number };

if (process.send === undefined) await measure();
else await act();

async function act(): Promise<void> {
  const app = await boot({ url: String(process.env['DATABASE_URL']), notifyWorkers: true });
  const jobs = app.get(JobService);
  process.on('message', (request: Request) => {
    const call =
      'cancel' in request
        ? jobs.cancelJob(request.cancel)
        : jobs.reportProgress([{ job: request.job, percent: request.percent }]);
    void call.then(() => process.send?.(now()));
  });
  process.once('disconnect', () => process.exit());
  process.send?.('ready');
}

async function measure(): Promise<void> {
  const h = await openHarness();
  const { url } = h;
  const other = fork(fileURLToPath(import.meta.url), {
    execArgv: process.execArgv,
    env: { ...process.env, DATABASE_URL: url },
  });
  await once(other, 'message');
  /** @returns when the call was replied to */
  const ask = async (request: Request): Promise<number> => {
    other.send(request);
    const [doneAt] = (await once(other, 'message')) as [number];
    return doneAt;
  };
  const listening = await boot({ url, listen: true });
  const polling = await boot({ url });

  const { userId } = await h.user();
  const inputs = Array.from({ length: WATCHERS + 1 }, () => ({ ...video, userId }));
  const [watched, ...others] = await h.jobs.createJobs(inputs);
  const job = await h.jobs.startJob(watched!.jobId, { leaseMs: HOUR_MS });
  for (const { jobId } of others) listening.get(JobService).watchJob(jobId).subscribe();
  const toldAt = [listening, polling].map((app) => {
    const times = new Map<number | null, number>();
    app
      .get(JobService)
      .watchJob(job.jobId)
      .subscribe(({ progress }) => void times.set(progress, now()));
    return times;
  });
  await sleep(3_000);
  const delays: number[][] = [[], []];
  for (let change = 0; change < CHANGES; change += 1) {
    await sleep(Math.random() * 300);
    const percent = 1 + (change % 100);
    for (const times of toldAt) times.delete(percent);
    const doneAt = await ask({ job, percent });
    await until(() => toldAt.every((times) => times.has(percent)));
    toldAt.forEach((times, index) => delays[index]?.push(Number(times.get(percent)) - doneAt));
  }
  report('a watcher with listen', delays[0]!);
  report('a watcher without', delays[1]!);
  await listening.close();
  await polling.close();

  const begun = new Set<string>();
  const aborted = new Map<string, number>();
  const worker = await bootWorker(
    url,
    {
      process: async ({ jobId }, { signal }) => {
        signal.addEventListener('abort', () => aborted.set(jobId, now()));
        begun.add(jobId);
        return sleep(HOUR_MS, RESULT, { signal });
      },
    },
    { listen: true, pollMs: 20, leaseMs: HOUR_MS },
  );
  await h.dataSource.query('DELETE FROM video_jobs');
  const cancelled: number[] = [];
  for (let count = 0; count < CANCELLATIONS; count += 1) {
    const { jobId } = await h.jobs.createJob({ ...video, userId });
    await until(() => begun.has(jobId));
    await sleep(Math.random() * 100);
    const doneAt = await ask({ cancel: jobId });
    await until(() => aborted.has(jobId));
    cancelled.push(Number(aborted.get(jobId)) - doneAt);
  }
  report('a handler with listen', cancelled);
  await worker.close();
  other.disconnect();
  await h.close();
}

function report(what: string, delays: number[]): void {
  const sorted = delays.toSorted((a, b) => a - b);
  const at = (part: number): string =>
    Number(sorted[Math.ceil(part * sorted.length) - 1]).toFixed(1);
  print(
    `${what.padEnd(24)} ${sorted.length} times, ms: median ${at(0.5)}, 99 % ${at(0.99)}, maximum ${at(1)}`,
  );
}
