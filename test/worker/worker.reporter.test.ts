import type { INestApplicationContext } from '@nestjs/common';
import { JobService } from '../../src/jobs/job.service.js';
import { WorkerReport } from '../../src/schema/entities/index.js';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import { Durations } from '../../src/worker/durations.js';
import { UnrecoverableJobError } from '../../src/worker/index.js';
import { Telemetry } from '../../src/worker/telemetry.js';
import { WorkerReporter } from '../../src/worker/worker.reporter.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());
beforeEach(() => h.dataSource.query('DELETE FROM worker_reports'));

const reports = (): Promise<WorkerReport[]> =>
  h.dataSource.getRepository(WorkerReport).find({ order: { minute: 'ASC' } });

const total = (histogram: readonly number[]): number => histogram.reduce((a, b) => a + b, 0);

/** The sums of all reports. */
async function sums() {
  const all = await reports();
  const sum = (of: (report: WorkerReport) => number) => all.reduce((a, r) => a + of(r), 0);
  return {
    completed: sum((r) => r.completed),
    failed: sum((r) => r.failed),
    retried: sum((r) => r.retried),
    delivered: sum((r) => r.delivered),
    undelivered: sum((r) => r.undelivered),
    waited: sum((r) => total(r.waitedHistogram)),
    ran: sum((r) => total(r.ranHistogram)),
  };
}

const create = async (app: INestApplicationContext, ...filenames: string[]): Promise<void> => {
  const { userId } = await h.user();
  const inputs = filenames.map((filename) => ({ userId, filename, videoUrl: 's3://videos/1' }));
  await app.get(JobService).createJobs(inputs);
};

it('reports at the start that the worker exists, and at the end all that it did', async () => {
  const app = await bootWorker(
    h.url,
    {
      process: async ({ filename }, { attempt }) => {
        if (filename === 'bad') throw new UnrecoverableJobError('no video');
        if (filename === 'flaky' && attempt === 1) throw new Error('once');
        return RESULT;
      },
      deliver: async ({ notificationType }, { attempt }) => {
        if (notificationType === 'failure' && attempt === 1) throw new Error('mailbox full');
      },
    },
    { deliveryBackoff: { baseMs: 1, maxMs: 1 } },
  );
  try {
    await until(async () => (await reports()).length > 0);
    const [first] = await reports();
    expect(first).toMatchObject({ places: 4, running: 0, completed: 0, waitedHistogram: [] });
    await create(app, 'good', 'good', 'flaky', 'bad');
    await until(async () => {
      const { rows } = {
        rows: await h.dataSource.query(
          `SELECT FROM notification_log WHERE "deliveryStatus" = 'sent'`,
        ),
      };
      return rows.length === 4;
    });
  } finally {
    await app.close();
  }
  expect(await sums()).toEqual({
    completed: 3,
    failed: 1,
    retried: 1,
    delivered: 4,
    undelivered: 1,
    waited: 5,
    ran: 5,
  });
  const [last] = (await reports()).slice(-1);
  expect(last).toMatchObject({ running: 0 });
  expect(last?.minute.getTime()).toBe(Math.floor((last?.minute.getTime() ?? 1) / 60_000) * 60_000);
});

it('reports how long jobs had been due, also those of lost workers', async () => {
  const { userId } = await h.user();
  const job = await h.jobs.createJob({ userId, filename: 'old', videoUrl: 's3://videos/1' });
  const hours = async (): Promise<void> => {
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" - interval '1 hour' WHERE "jobId" = $1`,
      [job.jobId],
    );
  };
  await hours();
  const app = await bootWorker(h.url);
  await until(async () => (await h.jobs.getJob(job.jobId)).status === 'completed');
  await app.close();
  const waitedMs = (await reports()).reduce((sum, report) => sum + report.waitedMs, 0);
  expect(waitedMs).toBeGreaterThanOrEqual(3_600_000);
  expect(waitedMs).toBeLessThan(3_700_000);
});

/** A reporter without a worker. */
function reporter(warnings: string[] = []) {
  const telemetry = new Telemetry();
  const logger = { warn: (text: string) => warnings.push(text) };
  const load = { places: 8, running: 3 };
  const db = new SqlRunner(h.dataSource, preparedByDefault());
  return {
    telemetry,
    load,
    reporter: new WorkerReporter(db, 'w', telemetry, () => load, logger as never),
  };
}

it('replaces what it wrote of a minute: a report that is sent twice counts once', async () => {
  const { reporter: one, telemetry } = reporter();
  one.start();
  telemetry.count('jobs.completed', 2);
  telemetry.ran.record(10);
  await one.stop();
  await one.stop();
  expect(await sums()).toMatchObject({ completed: 2, ran: 1 });
});

it('writes later what it could not write at first, and logs this once', async () => {
  const warnings: string[] = [];
  const { reporter: one, telemetry } = reporter(warnings);
  await h.dataSource.query('ALTER TABLE worker_reports RENAME TO away');
  try {
    one.start();
    telemetry.count('jobs.completed', 2);
    await until(async () => warnings.length > 0);
  } finally {
    await h.dataSource.query('ALTER TABLE away RENAME TO worker_reports');
  }
  await one.stop();
  expect(warnings).toHaveLength(1);
  expect(await sums()).toMatchObject({ completed: 2 });
});

/** The reports of all but `reporter()`, which writes two if a minute ends during a test. */
const others = async (): Promise<WorkerReport[]> =>
  (await reports()).filter(({ workerId }) => workerId !== 'w');

it('removes the reports that are older than eight days', async () => {
  await h.dataSource.query(
    `INSERT INTO worker_reports ("workerId", minute, "startedAt", places, running)
     SELECT 'w' || n % 3, date_trunc('minute', now()) - n * interval '1 hour', now(), 1, 0
     FROM generate_series(0, 300) AS n`,
  );
  const { reporter: one } = reporter();
  one.start();
  await until(async () => (await others()).length < 300);
  await one.stop();
  const [oldest] = await others();
  expect(Date.now() - (oldest?.minute.getTime() ?? 0)).toBeLessThanOrEqual(8 * 86_400_000 + 60_000);
  expect(await others()).toHaveLength(8 * 24);
});

it('adds times up', () => {
  const [one, other] = [new Durations(), new Durations()];
  for (const ms of [0, 0.5, 1, 3]) one.record(ms);
  for (const ms of [1, 2 ** 40, NaN]) other.record(ms);
  one.add(other);
  expect(one.histogram).toHaveLength(33);
  expect(one.histogram.slice(0, 4)).toEqual([3, 2, 1, 0]);
  expect(total(one.take().histogram)).toBe(7);
  expect(total(one.histogram)).toBe(0);
});
