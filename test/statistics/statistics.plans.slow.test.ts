import { Client } from 'pg';
import { preparedByDefault } from '../../src/sql/prepared-by-default.js';
import type { Statement } from '../../src/sql/statement.js';
import { SqlRunner } from '../../src/sql/sql.runner.js';
import type { Run } from '../../src/sql/sql.runner.js';
import { tablesOf } from '../../src/schema/tables.js';
import type { Tables } from '../../src/schema/tables.js';
import { JobStatistics } from '../../src/statistics/job.statistics.js';
import { explain, mostRowsOfANode, scannedTables } from '../jobs/plan.js';
import type { SentQuery } from '../jobs/plan.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { onServer } from '../support/server.js';

// With generic plans on large tables, no statement of the console reads more than 20,000 rows.

const JOBS = 200_000;
const AT_MOST = 20_000;

/** Runs statements, and lists them. */
class ListingRunner extends SqlRunner {
  readonly sent: SentQuery[] = [];

  override run<Row>(...call: Parameters<SqlRunner['run']>): Promise<Row[]> {
    this.sent.push({ text: this.textOf(call[1]), values: call[2] });
    return super.run<Row>(...call);
  }

  override transaction<T>(operation: string, work: (run: Run) => Promise<T>): Promise<T> {
    return super.transaction(operation, (run) => {
      let before: string | undefined;
      return work((make, values) => {
        const text = this.textOf(make);
        if (values[0] === 'on' || values[0] === 'off') {
          before = text.replace('$1', `'${values[0]}'`);
        } else this.sent.push({ text, values, before });
        return run(make, values);
      });
    });
  }

  private textOf(make: (tables: Tables) => Statement): string {
    return make(tablesOf(this.dataSource)).text;
  }
}

let h: Harness;
let client: Client;
let statistics: JobStatistics;
let userId: string;
let queries: ListingRunner;

beforeAll(async () => {
  h = await openHarness();
  queries = new ListingRunner(h.dataSource, preparedByDefault());
  statistics = new JobStatistics(h.dataSource, { runner: queries });
  ({ userId } = await h.user());
  const { userId: other } = await h.user();
  client = new Client({ connectionString: onServer(h.url) });
  await client.connect();
  // One user has half of all jobs. The jobs lie in the table sorted by status. So a plan that reads the table from its
  // beginning for the last status reads the whole table.
  await client.query(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "createdAt", "completedAt",
       "availableAt", "runNumber", attempts)
     SELECT CASE i % 2 WHEN 0 THEN $1::uuid ELSE $2::uuid END, 'cat.mp4', 's3://videos/cat.mp4', s.status,
       now() - i * interval '1 s', now(), now() - i * interval '1 s', 1, 1
     FROM generate_series(1, ${JOBS}) i
     CROSS JOIN LATERAL (SELECT CASE WHEN i <= 60000 THEN 'failed' WHEN i <= 140000 THEN 'pending'
       WHEN i <= 140100 THEN 'processing' ELSE 'completed' END) AS s(status)`,
    [userId, other],
  );
  await client.query(
    `INSERT INTO notification_log ("jobId", "notificationType", "recipientEmail", "runNumber",
       "deliveryStatus", "createdAt")
     SELECT "jobId", 'failure', 'a@example.com', 1,
       CASE WHEN row_number() OVER () <= 100 THEN 'failed' ELSE 'sent' END, "createdAt"
     FROM video_jobs WHERE status = 'failed'`,
  );
  await client.query(
    `INSERT INTO worker_reports ("workerId", minute, "startedAt", places, running)
     SELECT 'w' || w, date_trunc('minute', now()) - m * interval '1 minute', now(), 4, 2
     FROM generate_series(1, 700) AS w, generate_series(0, 130) AS m`,
  );
  await client.query('VACUUM ANALYZE');
}, 120_000);

afterAll(async () => {
  await client.end();
  await h.close();
});

/** Explains each different statement that a call sends. */
async function expectFewRows(call: () => Promise<unknown>): Promise<void> {
  queries.sent.length = 0;
  await call();
  const different = new Map(queries.sent.map((sent) => [sent.text, sent]));
  for (const sent of different.values()) {
    const plan = await explain(client, sent);
    const tables = scannedTables(plan).filter((name) => /jobs|notification|reports/.test(name));
    expect({ text: sent.text, tables }).toEqual({ text: sent.text, tables: [] });
    const rows = mostRowsOfANode(plan);
    if (rows > AT_MOST) throw new Error(`${rows} rows are read by ${sent.text}`);
  }
}

it('reads few rows for the overview', () => expectFewRows(() => statistics.overview()));

const statuses = ['pending', 'processing', 'completed', 'failed'] as const;

it.each(statuses)(
  'reads few rows for the jobs that are %s, from any position on',
  async (status) => {
    const { nextCursor: cursor } = await statistics.searchJobs({ status });
    await expectFewRows(() => statistics.searchJobs({ status }));
    await expectFewRows(() => statistics.searchJobs({ status, cursor }));
    await expectFewRows(() => statistics.searchJobs({ status, userId }));
    await expectFewRows(() => statistics.searchJobs({ status, userId, cursor }));
    const from = new Date(Date.now() - 190_000_000);
    const to = new Date(Date.now() - 100_000_000);
    await expectFewRows(() => statistics.searchJobs({ status, from, to, text: 'dog' }));
  },
);

it('reads few rows for the jobs that wait longest', async () => {
  await expectFewRows(() => statistics.searchJobs({ order: 'waiting', text: 'dog' }));
  await expectFewRows(() => statistics.searchJobs({ order: 'waiting', text: 'dog', userId }));
  const { nextCursor: cursor } = await statistics.searchJobs({ order: 'waiting', text: 'dog' });
  await expectFewRows(() => statistics.searchJobs({ order: 'waiting', cursor }));
});

it('reads few rows for a text that nothing has', async () => {
  await expectFewRows(() => statistics.searchJobs({ text: 'dog' }));
  await expectFewRows(() => statistics.searchJobs({ text: 'dog', userId }));
  await expectFewRows(() => statistics.searchNotifications({ text: 'nobody' }));
});

it.each(['pending', 'sent', 'failed'] as const)(
  'reads few rows for the notifications that are %s',
  async (deliveryStatus) => {
    await expectFewRows(() => statistics.searchNotifications({ deliveryStatus }));
    const { nextCursor: cursor } = await statistics.searchNotifications({ deliveryStatus });
    await expectFewRows(() => statistics.searchNotifications({ deliveryStatus, cursor }));
  },
);

it('reads few rows where more jobs have the same time than one search reads', async () => {
  await client.query(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl", "createdAt", "availableAt")
     SELECT $1, 'tie.mp4', 's3://videos/tie.mp4', '2100-01-01', '2000-01-01' FROM generate_series(1, 30000)`,
    [userId],
  );
  await client.query('VACUUM ANALYZE video_jobs');
  for (const search of [{}, { text: 'dog' }, { userId }, { order: 'waiting' }] as const) {
    await expectFewRows(() => statistics.searchJobs(search));
    const { nextCursor: cursor } = await statistics.searchJobs(search);
    await expectFewRows(() => statistics.searchJobs({ ...search, cursor }));
  }
  const waiting = { order: 'waiting', userId, text: 'dog' } as const;
  await expectFewRows(() => statistics.searchJobs(waiting));
});

it('reads few rows for notifications with random ids', async () => {
  const { nextCursor: cursor } = await statistics.searchNotifications({ limit: 1_000 });
  expect(cursor).toContain('.');
  await expectFewRows(() => statistics.searchNotifications({ cursor }));
  await expectFewRows(() => statistics.searchNotifications({ cursor, text: 'nobody' }));
});

it('reads few rows for one job', async () => {
  const { found } = await statistics.searchJobs({ limit: 1 });
  await expectFewRows(() => statistics.jobLife(found[0]!.jobId));
});
