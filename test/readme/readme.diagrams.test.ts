import type { VideoJob } from '../../src/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { headingsOf, namesIn, tablesUnder } from './readme.blocks.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

const TABLES = 'docs/reference/tables.md';

/** The columns that the page shows for a table. */
function shownColumns(table: string): object[] {
  return tablesUnder(TABLES, `\`${table}\``)
    .slice(1)
    .map(([column = '', type = '', key = '']) => {
      const { groups } = /^`(?<name>[^`?]+)(?<nullable>\?)?`$/.exec(type) ?? {};
      return {
        table,
        column: namesIn(column)[0],
        type: groups?.['name'],
        keys: key.match(/PK|FK|UK/g) ?? [],
        nullable: groups?.['nullable'] === '?',
      };
    });
}

describe('the page on tables', () => {
  const shown = headingsOf(TABLES).flatMap((heading) => /^`(\w+)`$/.exec(heading)?.[1] ?? []);

  it('has the columns of the database, in order', async () => {
    expect(shown.flatMap((table) => shownColumns(table))).toEqual(await columnsOf());
  });

  it('has the relations of the database', async () => {
    const relations = shown.flatMap((child) =>
      tablesUnder(TABLES, `\`${child}\``).flatMap(([, , key = '']) =>
        [...key.matchAll(/FK → `(\w+)`/g)].map(([, parent]) => ({ parent, child })),
      ),
    );
    const rows = await h.dataSource.query(
      `SELECT confrelid::regclass::text AS parent, conrelid::regclass::text AS child
       FROM pg_constraint WHERE contype = 'f'`,
    );
    expect(relations.toSorted(byText)).toEqual((rows as object[]).toSorted(byText));
  });
});

const byText = (a: object, b: object): number => JSON.stringify(a).localeCompare(JSON.stringify(b));

async function columnsOf(): Promise<unknown[]> {
  return h.dataSource.query(
    `SELECT r.relname AS "table", a.attname AS "column", NOT a.attnotnull AS "nullable",
       replace(replace(regexp_replace(format_type(a.atttypid, a.atttypmod),
         'timestamp\\((\\d)\\) with time zone', 'timestamptz(\\1)'), 'character varying', 'varchar'),
         'double precision', 'float8')
         AS "type",
       array_remove(ARRAY[
         CASE WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = r.oid
           AND k.contype = 'p' AND a.attnum = ANY(k.conkey)) THEN 'PK' END,
         CASE WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = r.oid
           AND k.contype = 'f' AND a.attnum = ANY(k.conkey)) THEN 'FK' END,
         CASE WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = r.oid
           AND k.contype = 'u' AND k.conkey = ARRAY[a.attnum]) THEN 'UK' END], NULL) AS "keys"
     FROM pg_class r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
     WHERE r.relkind = 'r' AND r.relnamespace = 'public'::regnamespace AND r.relname <> 'migrations'
       AND NOT a.attisdropped
     ORDER BY array_position(ARRAY['users', 'video_jobs', 'notification_log'], r.relname::text),
       r.relname, a.attnum`,
  );
}

const result = { resultUrl: 's3://frames/cat.zip', frameCount: 1 };
const failure = { errorMessage: 'no video stream' };

async function pending(): Promise<VideoJob> {
  const { userId } = await h.user();
  return h.jobs.createJob({ userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' });
}

async function started(): Promise<VideoJob> {
  return h.jobs.startJob((await pending()).jobId, { leaseMs: 60_000 });
}

/** A job whose worker was lost: its lease is over. */
async function abandoned(): Promise<VideoJob> {
  const job = await started();
  await h.dataSource.query(
    `UPDATE video_jobs SET "availableAt" = now() - interval '1 s' WHERE "jobId" = $1`,
    [job.jobId],
  );
  return job;
}

async function failed(): Promise<VideoJob> {
  return (await h.jobs.failJob(await started(), failure)).job;
}

/** Claims all due jobs. Jobs that were tried `maxAttempts` times fail instead. */
const claim = (maxAttempts = 5): Promise<unknown> =>
  h.jobs.claimJobs({ limit: 1_000, maxAttempts });

/** For each arrow of the diagram: a function that makes a job in the first state, and one that moves it. */
const MOVES: Record<
  string,
  [before: () => Promise<VideoJob>, move: (job: VideoJob) => Promise<unknown>]
> = {
  'pending → processing by claimJobs': [pending, () => claim()],
  'pending → processing by startJob': [pending, ({ jobId }) => h.jobs.startJob(jobId)],
  'processing → processing by claimJobs': [abandoned, () => claim()],
  'processing → processing by startJob': [abandoned, ({ jobId }) => h.jobs.startJob(jobId)],
  'processing → completed by completeJob': [started, (job) => h.jobs.completeJob(job, result)],
  'processing → completed by completeJobs': [
    started,
    (job) => h.jobs.completeJobs([{ job, result }]),
  ],
  'processing → failed by failJob': [started, (job) => h.jobs.failJob(job, failure)],
  'processing → failed by claimJobs': [abandoned, () => claim(1)],
  'processing → pending by failJob': [
    started,
    (job) => h.jobs.failJob(job, { ...failure, retryInMs: 60_000 }),
  ],
  'processing → pending by releaseJob': [started, (job) => h.jobs.releaseJob(job)],
  'pending → failed by cancelJob': [pending, ({ jobId }) => h.jobs.cancelJob(jobId)],
  'processing → failed by cancelJob': [started, ({ jobId }) => h.jobs.cancelJob(jobId)],
  'failed → pending by retryJob': [failed, ({ jobId }) => h.jobs.retryJob(jobId)],
};

/** The moves in the table of the page. */
const shownMoves = (): string[] =>
  tablesUnder('docs/reference/job-life.md', 'The life of a job')
    .slice(1)
    .flatMap(([from = '', to = '', methods = '']) =>
      namesIn(methods).map(
        (method) => `${namesIn(from)[0] ?? ''} → ${namesIn(to)[0]} by ${method}`,
      ),
    );

describe('the moves of a job', () => {
  it('are the moves that this test knows', () => {
    const created = ['createJob', 'createJobs'].map((method) => ` → pending by ${method}`);
    expect(shownMoves().toSorted()).toEqual([...Object.keys(MOVES), ...created].toSorted());
  });

  it.each(Object.entries(MOVES))('happen in the database: %s', async (arrow, [before, move]) => {
    const job = await before();
    expect(arrow.startsWith(`${job.status} → `)).toBe(true);
    await move(job);
    const { status, runNumber } = await h.jobs.getJob(job.jobId);
    expect(arrow).toContain(` → ${status} by `);
    const newRun = status === 'processing' || arrow.endsWith('cancelJob') ? 1 : 0;
    expect(runNumber).toBe(job.runNumber + newRun);
  });
});
