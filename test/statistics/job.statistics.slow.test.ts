import { setTimeout as sleep } from 'node:timers/promises';
import { metrics } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { Test } from '@nestjs/testing';
import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { MigrationInterface } from 'typeorm';
import { FrameForgeDatabaseModule, InjectJobStatistics } from '../../src/database.module.js';
import { JobStatistics } from '../../src/statistics/job.statistics.js';
import { makers } from '../jobs/fixtures.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';

let h: Harness;
let statistics: JobStatistics;
beforeEach(async () => {
  h = await openHarness();
  statistics = new JobStatistics(h.dataSource);
});
afterEach(() => h.close());

const none = { count: 0, more: false };

const report = async (worker: string, ago: string, values: object): Promise<void> => {
  await h.dataSource.query(
    `INSERT INTO worker_reports ("workerId", minute, "startedAt", places, running, completed, failed,
       "waitedMs", "waitedHistogram")
     SELECT $1, date_trunc('minute', now()) - $2::interval, now() - interval '8 days', 4, 2,
       (v->>'completed')::integer, COALESCE((v->>'failed')::integer, 0), (v->>'waitedMs')::float8,
       COALESCE(ARRAY(SELECT jsonb_array_elements_text(v->'waited')::integer), '{}')
     FROM (SELECT $3::jsonb AS v) AS given`,
    [worker, ago, JSON.stringify({ waited: [], waitedMs: 0, ...values })],
  );
};

const create = async (filename: string, userId?: string) =>
  h.jobs.createJob({
    userId: userId ?? (await h.user()).userId,
    filename,
    videoUrl: 's3://videos/1',
  });
const names = ({ found }: { found: readonly { filename: string }[] }) =>
  found.map(({ filename }) => filename);

it('counts nothing in an empty database', async () => {
  const overview = await statistics.overview();
  expect(overview).toMatchObject({
    jobs: {
      counts: { pending: none, processing: none, completed: none, failed: none },
      due: { ...none, oldest: null },
      lost: { ...none, oldest: null },
    },
    notifications: {
      counts: { pending: none, sent: none, failed: none },
      due: { ...none, oldest: null },
    },
    workers: [],
    paused: null,
  });
  expect(overview.lastHour).toHaveLength(60);
  expect(overview.lastWeek).toHaveLength(168);
  expect(overview.hour).toMatchObject({
    completed: 0,
    waited: { mean: null, median: null, p95: null },
  });
});

it('shows the queues, and since when the oldest entry is due', async () => {
  const { pending, leased, completed, failed } = makers(h);
  const { jobId } = await pending();
  await pending();
  const { userId } = await h.user();
  await h.jobs.createJob({
    userId,
    filename: 'later.mp4',
    videoUrl: 's3://videos/later.mp4',
    availableAt: new Date(Date.now() + 3_600_000),
  });
  const lost = await leased();
  await leased('worker-2');
  await completed();
  await failed();
  const before = async (id: string): Promise<Date> => {
    const [row] = await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" - interval '3 hours' WHERE "jobId" = $1
       RETURNING "availableAt"`,
      [id],
    );
    return row[0].availableAt as Date;
  };
  const [dueSince, lostSince] = [await before(jobId), await before(lost.jobId)];
  await h.dataSource.query(`UPDATE processing_state SET "pausedAt" = now(), reason = 'a release'`);
  const overview = await statistics.overview();
  expect(overview.jobs).toEqual({
    counts: {
      pending: { count: 3, more: false },
      processing: { count: 2, more: false },
      completed: { count: 1, more: false },
      failed: { count: 1, more: false },
    },
    due: { count: 2, more: false, oldest: dueSince },
    lost: { count: 1, more: false, oldest: lostSince },
  });
  expect(overview.notifications).toMatchObject({
    counts: { pending: { count: 2 } },
    due: { count: 2, more: false },
  });
  expect(overview.paused).toMatchObject({ reason: 'a release' });
});

describe('what workers did', () => {
  // The minute in which a test reports is still the last one when it reads the figures.
  beforeEach(async () => {
    const [{ left }] = await h.dataSource.query(
      `SELECT 60 - EXTRACT(SECOND FROM now())::double precision AS left`,
    );
    // A timer may fire a moment too early, and then the minute would end in the middle of the test.
    if (left < 10) await sleep(left * 1_000 + 100);
  });

  it('adds up the reports of all workers, by the minute and by the hour', async () => {
    await report('a', '0 minutes', { completed: 2, waited: [0, 4], waitedMs: 6 });
    await report('b', '0 minutes', { completed: 3, failed: 1, waited: [0, 0, 4], waitedMs: 10 });
    await report('a', '30 minutes', { completed: 5 });
    await report('a', '26 hours', { completed: 7 });
    await report('a', '9 days', { completed: 1_000 });
    const { lastHour, hour, lastWeek, workers } = await statistics.overview();
    expect(lastHour.at(-1)).toMatchObject({
      completed: 5,
      failed: 1,
      waited: { mean: 2, median: 2 },
    });
    expect(lastHour.at(-31)).toMatchObject({ completed: 5, waited: { mean: null } });
    expect(hour).toMatchObject({ completed: 10, failed: 1 });
    expect(lastWeek.reduce((sum, { completed }) => sum + completed, 0)).toBe(17);
    expect(lastWeek.filter(({ completed }) => completed === 7)).toHaveLength(1);
    expect(workers.map(({ workerId }) => workerId)).toEqual(['a', 'b']);
    expect(workers[0]).toMatchObject({ places: 4, running: 2 });
  });

  it('reads past hours only once, and the current hour each time', async () => {
    await statistics.overview();
    await report('a', '50 hours', { completed: 7 });
    await report('a', '0 minutes', { completed: 5 });
    const { lastWeek } = await statistics.overview();
    expect(lastWeek.reduce((sum, { completed }) => sum + completed, 0)).toBe(5);
  });

  it('reads the hours of many workers in parts, and estimates the week from a sample of minutes', async () => {
    const fill = (workers: number, from: number, to: number) =>
      h.dataSource.query(
        `INSERT INTO worker_reports ("workerId", minute, "startedAt", places, running, completed)
         SELECT 'w' || w, date_trunc('minute', now()) - m * interval '1 minute', now(), 4, 2, 1
         FROM generate_series(1, $1::integer) AS w, generate_series($2::integer, $3::integer) AS m`,
        [workers, from, to],
      );
    // Also minutes that are still to come: the next one may begin before the figures are read.
    await fill(700, -2, 59);
    await fill(700, 200, 320);
    const { lastHour, hour, lastWeek } = await statistics.overview();
    expect(lastHour.map(({ completed }) => completed)).toEqual(Array(60).fill(700));
    expect(hour).toMatchObject({ completed: 42_000, isEstimated: false });
    // The reports of one of the hours are complete.
    const whole = lastWeek.filter(({ completed }) => completed === 42_000);
    expect(whole.length).toBeGreaterThan(0);
    expect(whole.every(({ isEstimated }) => isEstimated)).toBe(true);
    // With few workers, the numbers are exact again.
    await h.dataSource.query(`DELETE FROM worker_reports`);
    await fill(3, -2, 59);
    const fresh = new JobStatistics(h.dataSource);
    expect((await fresh.overview()).hour).toMatchObject({ completed: 180, isEstimated: false });
  });

  it('leaves out workers that have been silent for three minutes', async () => {
    await report('a', '5 minutes', { completed: 7 });
    expect(await statistics.workers()).toEqual([]);
  });
});

describe('search', () => {
  it('finds jobs by status, user, text and time, newest first, with their users', async () => {
    const ann = await h.user({ username: 'ann' });
    const [one, two] = [await create('One.mp4', ann.userId), await create('two.mp4', ann.userId)];
    await create('three.mp4');
    await h.dataSource.query(
      `UPDATE video_jobs SET "createdAt" = now() - interval '2 days' WHERE "jobId" = $1`,
      [one.jobId],
    );
    const run = await h.jobs.startJob(two.jobId, { leaseMs: 1_000, workerId: 'w' });
    await h.jobs.failJob(run, { errorMessage: 'No Video stream' });
    expect(names(await statistics.searchJobs())).toEqual(['three.mp4', 'two.mp4', 'One.mp4']);
    expect(names(await statistics.searchJobs({ status: 'failed' }))).toEqual(['two.mp4']);
    expect(names(await statistics.searchJobs({ text: 'oNE.' }))).toEqual(['One.mp4']);
    expect(names(await statistics.searchJobs({ text: 'video STREAM' }))).toEqual(['two.mp4']);
    expect(names(await statistics.searchJobs({ text: '%' }))).toEqual([]);
    const { userId } = ann;
    expect(names(await statistics.searchJobs({ userId }))).toEqual(['two.mp4', 'One.mp4']);
    expect(names(await statistics.searchJobs({ userId, status: 'pending' }))).toEqual(['One.mp4']);
    const day = new Date(Date.now() - 86_400_000);
    expect(names(await statistics.searchJobs({ from: day }))).toEqual(['three.mp4', 'two.mp4']);
    expect(names(await statistics.searchJobs({ to: day, status: 'pending' }))).toEqual(['One.mp4']);
    const { found } = await statistics.searchJobs({ text: 'one' });
    expect(found[0]).toMatchObject({ jobId: one.jobId, username: 'ann', email: ann.email });
    expect(await statistics.findUser('ann')).toEqual({ userId, username: 'ann', email: ann.email });
    expect(await statistics.findUser(ann.email)).toMatchObject({ userId });
    expect(await statistics.findUser("' OR true")).toBeNull();
  });

  it.each([
    ['all', {}],
    ['of a status', { status: 'pending' }],
    ['longest waiting first', { order: 'waiting' }],
  ] as const)('pages through jobs: %s', async (_, filter) => {
    const { userId } = await h.user();
    await h.jobs.createJobs(
      Array.from({ length: 7 }, (_unused, i) => ({
        userId,
        filename: `${i}`,
        videoUrl: 's3://videos/1',
      })),
    );
    for (const search of [filter, { ...filter, userId }]) {
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const page: Awaited<ReturnType<JobStatistics['searchJobs']>> = await statistics.searchJobs({
          ...search,
          limit: 3,
          cursor,
        });
        seen.push(...names(page));
        cursor = page.nextCursor;
        expect(page.stoppedAt).toBeNull();
      } while (cursor !== null);
      expect(seen.toSorted()).toEqual(['0', '1', '2', '3', '4', '5', '6']);
    }
  });

  it('finds the jobs that have been waiting longest', async () => {
    const [late, early] = [await create('late'), await create('early')];
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" - interval '1 day' WHERE "jobId" = $1`,
      [early.jobId],
    );
    await makers(h).completed();
    expect(names(await statistics.searchJobs({ order: 'waiting' }))).toEqual(['early', 'late']);
    expect(names(await statistics.searchJobs({ order: 'waiting', userId: late.userId }))).toEqual([
      'late',
    ]);
  });

  it('finds notifications by status, recipient and error', async () => {
    const { completed, failed } = makers(h);
    await completed();
    const job = await failed();
    const all = await statistics.searchNotifications();
    expect(all.found).toHaveLength(2);
    const [newest] = all.found;
    expect(newest).toMatchObject({ jobId: job.jobId, notificationType: 'failure' });
    const { recipientEmail } = newest!;
    const mine = { text: recipientEmail.toUpperCase() };
    expect((await statistics.searchNotifications(mine)).found).toHaveLength(1);
    const [claimed] = await h.notifications.claimNotifications({ limit: 1 });
    await h.notifications.markFailed(claimed!, { errorMessage: 'no such mailbox' });
    for (const search of [{ deliveryStatus: 'failed' }, { text: 'MAILBOX' }] as const) {
      const { found } = await statistics.searchNotifications(search);
      expect(found.map((n) => n.notificationId)).toEqual([claimed?.notificationId]);
    }
    const first = await statistics.searchNotifications({ limit: 1 });
    const second = await statistics.searchNotifications({ limit: 1, cursor: first.nextCursor });
    const ids = [...first.found, ...second.found].map((n) => n.notificationId);
    expect(ids).toEqual(all.found.map((n) => n.notificationId));
    expect(second.nextCursor).toBeNull();
  });

  it('refuses wrong values', async () => {
    const waiting = { order: 'waiting', status: 'failed', from: new Date() } as const;
    await expect(statistics.searchJobs(waiting)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      problems: [{ property: 'order' }, { property: 'order' }],
    });
    await expect(statistics.searchJobs({ status: 'x' as never })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
    await expect(statistics.searchNotifications({ cursor: 'x' })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
  });

  it('returns where it stopped, and continues from there', async () => {
    const { userId } = await h.user();
    await h.dataSource.query(
      `INSERT INTO video_jobs ("userId", filename, "videoUrl", "createdAt")
       SELECT $1, CASE WHEN i = 20500 THEN 'the one.mp4' ELSE 'a.mp4' END, 's3://videos/1',
         now() - i * interval '1 s'
       FROM generate_series(1, 21000) AS i`,
      [userId],
    );
    for (const search of [{ text: 'one' }, { text: 'one', userId }]) {
      const first = await statistics.searchJobs(search);
      expect(first).toMatchObject({ found: [], stoppedAt: expect.any(Date) });
      const cursor = first.nextCursor;
      const second = await statistics.searchJobs({ ...search, cursor });
      expect(names(second)).toEqual(['the one.mp4']);
      expect(second).toMatchObject({ nextCursor: null, stoppedAt: null });
    }
    expect((await statistics.jobFigures()).counts.pending).toEqual({ count: 10_000, more: true });
  });
});

it('shows the life of a job', async () => {
  const { pending } = makers(h);
  const { jobId, userId } = await pending();
  const first = await h.jobs.startJob(jobId, { leaseMs: 60_000, workerId: 'w1' });
  await h.jobs.failJob(first, { errorMessage: 'disk full', retryInMs: 0 });
  const second = await h.jobs.startJob(jobId, { leaseMs: 60_000, workerId: 'w2' });
  await h.jobs.failJob(second, { errorMessage: 'no video' });
  const life = await statistics.jobLife(jobId);
  expect(life).toMatchObject({
    job: { jobId, userId, status: 'failed', errorMessage: 'no video', runNumber: 2 },
    failedRuns: [
      { runNumber: 2, errorMessage: 'no video' },
      { runNumber: 1, errorMessage: 'disk full', workerId: 'w1' },
    ],
    notifications: [{ notificationType: 'failure', deliveryStatus: 'pending', runNumber: 2 }],
  });
  expect(JSON.stringify(life)).not.toContain('passwordHash');
  const missing = statistics.jobLife('00000000-0000-4000-8000-000000000000');
  await expect(missing).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
});

it('compares the database with the entities', async () => {
  expect(await statistics.schema()).toEqual({
    pendingMigrations: [],
    unknownMigrations: [],
    drift: [],
  });
  await h.dataSource.query('ALTER TABLE users ALTER COLUMN username TYPE text');
  expect((await statistics.schema()).drift).toEqual([expect.stringContaining('username')]);
});

it('ignores the tables and the migrations of the application', async () => {
  @Entity('accounts')
  class Account {
    @PrimaryColumn('integer') id!: number;
    @Column('text') users!: string;
  }
  class AddNothing1600000000000 implements MigrationInterface {
    async up(): Promise<void> {}
    async down(): Promise<void> {}
  }
  const own = await openHarness({ entities: [Account], migrations: [AddNothing1600000000000] });
  try {
    const figures = new JobStatistics(own.dataSource);
    await own.dataSource.query(`DELETE FROM migrations WHERE name = 'AddNothing1600000000000'`);
    await own.dataSource.query('DROP TABLE IF EXISTS accounts');
    const nothing = { pendingMigrations: [], unknownMigrations: [], drift: [] };
    expect(await figures.schema()).toEqual(nothing);
    await own.dataSource.query('CREATE TABLE accounts (id text)');
    expect(await figures.schema()).toEqual(nothing);
    await own.dataSource.query('DROP INDEX idx_jobs_created_at');
    await own.dataSource.query('ALTER TABLE notification_log DROP COLUMN "sentAt"');
    expect((await figures.schema()).drift?.toSorted()).toEqual([
      'column "notification_log"."sentAt"',
      'index "idx_jobs_created_at" of "video_jobs"',
    ]);
  } finally {
    await own.close();
  }
});

it('reports its figures to OpenTelemetry', async () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({ readers: [reader] });
  metrics.setGlobalMeterProvider(provider);
  try {
    const { pending, failed } = makers(h);
    await pending();
    await failed();
    await report('a', '0 minutes', { completed: 1 });
    const end = await statistics.reportToOpenTelemetry();
    await reader.forceFlush();
    end();
    const found = exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) =>
        scopeMetrics.flatMap((scope) =>
          scope.metrics.flatMap(({ descriptor, dataPoints }) =>
            dataPoints.map(({ attributes, value }) => [
              `${descriptor.name} ${String(attributes['status'] ?? '')}`.trim(),
              value,
            ]),
          ),
        ),
      );
    expect(Object.fromEntries(found)).toMatchObject({
      'frameforge.jobs pending': 1,
      'frameforge.jobs failed': 1,
      'frameforge.jobs completed': 0,
      'frameforge.notifications pending': 1,
      'frameforge.jobs.expired': 0,
      'frameforge.workers': 1,
      'frameforge.workers.places': 4,
      'frameforge.workers.running': 2,
    });
  } finally {
    await provider.shutdown();
    metrics.disable();
  }
});

it('is a provider of forRoot, and by name', async () => {
  class Reader {
    constructor(@InjectJobStatistics('other') readonly named: JobStatistics) {}
  }
  const testing = await Test.createTestingModule({
    imports: [
      FrameForgeDatabaseModule.forRoot({ url: h.url }),
      FrameForgeDatabaseModule.forRoot({ url: h.url, name: 'other' }),
    ],
    providers: [Reader],
  }).compile();
  try {
    expect(testing.get(JobStatistics)).toBeInstanceOf(JobStatistics);
    expect(testing.get(Reader).named).toBeInstanceOf(JobStatistics);
  } finally {
    await testing.close();
  }
});

const insert = (userId: string, from: number, to: number, at: string) =>
  h.dataSource.query(
    `INSERT INTO video_jobs ("jobId", "userId", filename, "videoUrl", "createdAt", "availableAt")
       SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, $1, i::text, 's3://videos/1', $2::timestamptz, $2::timestamptz
       FROM generate_series($3::integer, $4::integer) AS i`,
    [userId, at, from, to],
  );

describe('more rows with the same time than one search reads', () => {
  it('shows rows with the same time in the order of their ids, continues past rows that it cannot read at once, and shows each once', async () => {
    const { userId } = await h.user();
    // The search first stops among jobs with the same time. Then it meets more jobs with the same time than it reads.
    await insert(userId, 1, 15_000, '2026-01-03');
    await insert(userId, 15_001, 25_000, '2026-01-02');
    await insert(userId, 25_001, 47_000, '2026-01-01');
    await insert(userId, 47_001, 47_003, '2025-12-31');
    await h.dataSource.query('ANALYZE video_jobs');
    for (const search of [{}, { order: 'waiting' }, { order: 'waiting', userId }] as const) {
      const seen: string[] = [];
      let cursor: string | null = null;
      let stops = 0;
      do {
        const page: Awaited<ReturnType<JobStatistics['searchJobs']>> = await statistics.searchJobs({
          ...search,
          limit: 1_000,
          cursor,
        });
        seen.push(...names(page));
        cursor = page.nextCursor;
        if (page.stoppedAt !== null) stops += 1;
      } while (cursor !== null);
      expect(new Set(seen).size).toBe(seen.length);
      // Of 22,000 jobs with the same time, it reads 19,950.
      expect(seen).toHaveLength(25_000 + 19_950 + 3);
      expect(stops).toBeGreaterThan(0);
      for (const few of ['1', '15000', '15001', '25000', '47001', '47003']) {
        expect(seen).toContain(few);
      }
    }
  });
});

/** Pages through all notifications. */
const recipients = async (limit: number) => {
  const seen: string[] = [];
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<JobStatistics['searchNotifications']>> =
      await statistics.searchNotifications({ limit, cursor });
    seen.push(...page.found.map(({ recipientEmail }) => recipientEmail));
    cursor = page.nextCursor;
  } while (cursor !== null);
  return seen;
};

it('shows notifications of older services, whose ids are random, after the others and in the order of time', async () => {
  const { completed, failed } = makers(h);
  const jobs = [await completed(), await failed(), await completed()];
  const older = (count: number, days: number) =>
    h.dataSource.query(
      `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "createdAt")
       SELECT $1, 'success', 'old' || i, now() - $3::integer * interval '1 day' - i * interval '1 s'
       FROM generate_series(1, $2::integer) AS i`,
      [jobs[0]!.jobId, count, days],
    );
  await older(5, 30);
  const all = await recipients(50);
  expect(all).toHaveLength(8);
  // One of a hundred random ids is smaller than the ids that are in the order of time.
  expect(all.slice(3).toSorted()).toEqual(['old1', 'old2', 'old3', 'old4', 'old5']);
  for (const limit of [1, 2, 3, 4]) expect(await recipients(limit)).toEqual(all);
  await older(21_000, 60);
  const many = await recipients(1_000);
  expect(many).toHaveLength(21_008);
  expect(new Set(many).size).toBe(21_003);
  expect(many.slice(0, 3)).toEqual(all.slice(0, 3));
});
