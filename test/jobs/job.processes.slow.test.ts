import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { until } from '../support/until.js';
import { ledger, video, violations } from './fixtures.js';

const PROCESSES = 8;
/** A long limit, because other tests may keep the machine busy. Alone, these tests take seconds. */
const TIMEOUT_MS = 240_000;
const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** How the processes claim; with a lease, in ms, they also complete. */
interface Terms {
  readonly lease?: number;
  readonly order?: 'age' | 'fair';
}

/** A process that claims jobs, and the results that it has reported. */
class Claimer {
  readonly claimed: { jobId: string; runNumber: number }[] = [];
  readonly completed: string[] = [];
  readonly refused: string[] = [];
  readonly process: ChildProcess;
  ready = false;

  constructor(url: string, terms: Terms) {
    const loader = ['--import', file('../support/typescript.mjs')];
    const values = [url, JSON.stringify(terms)];
    this.process = spawn(process.execPath, [...loader, file('./claimer.fixture.ts'), ...values], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.process.stdout! }).on('line', (line) => {
      const told = JSON.parse(line) as Partial<Claimer>;
      this.ready ||= told.ready ?? false;
      this.claimed.push(...(told.claimed ?? []));
      this.completed.push(...(told.completed ?? []));
      this.refused.push(...(told.refused ?? []));
    });
  }
}

let h: Harness;
let claimers: Claimer[] = [];
beforeEach(async () => {
  h = await openHarness();
});
afterEach(async () => {
  for (const claimer of claimers) claimer.process.kill('SIGKILL');
  await h.close();
});

/** Starts the processes, and tells all of them at once to begin. */
async function race(terms: Terms): Promise<void> {
  claimers = Array.from({ length: PROCESSES }, () => new Claimer(h.url, terms));
  await until(() => claimers.every(({ ready }) => ready));
  for (const claimer of claimers) claimer.process.stdin!.write('go\n');
}

/** Waits until processes have reported everything, and ended with exit code 0. */
async function ended(all: Claimer[]): Promise<void> {
  const exits = await Promise.all(all.map(({ process: child }) => once(child, 'close')));
  expect(exits).toEqual(all.map(() => [0, null]));
}

async function createJobs(count: number): Promise<string[]> {
  const { userId } = await h.user();
  const jobs = await h.jobs.createJobs(Array.from({ length: count }, () => ({ ...video, userId })));
  return jobs.map(({ jobId }) => jobId);
}

/** Jobs of many users, some of whom have a hundred times as many as others. */
async function createJobsOfMany(count: number, users: number): Promise<string[]> {
  const rows: { jobId: string }[] = await h.dataSource.query(
    `WITH u AS (
       INSERT INTO users (username, email, "passwordHash")
       SELECT 'user' || i, 'user' || i || '@example.com', 'secret' FROM generate_series(1, $2) i
       RETURNING "userId"
     ), ids AS (SELECT array_agg("userId") AS ids FROM u)
     INSERT INTO video_jobs ("userId", filename, "videoUrl")
     SELECT ids[1 + floor($2 * power(i / $1::float8, 3))::integer % $2], 'a.mp4', 's3://videos/a.mp4'
     FROM ids, generate_series(0, $1 - 1) i RETURNING "jobId"`,
    [count, users],
  );
  return rows.map(({ jobId }) => jobId);
}

it.each<[string, Terms, () => Promise<string[]>]>([
  ['five thousand jobs', {}, () => createJobs(5_000)],
  [
    'twenty thousand jobs of five hundred users in turn',
    { order: 'fair' },
    () => createJobsOfMany(20_000, 500),
  ],
])(
  'eight processes that claim %s get each exactly once',
  async (_, terms, create) => {
    const ids = await create();
    await race(terms);
    await ended(claimers);
    const claimed = claimers.flatMap((claimer) => claimer.claimed);
    expect(claimed).toHaveLength(ids.length);
    expect(new Set(claimed.map(({ jobId }) => jobId))).toEqual(new Set(ids));
    expect(new Set(claimed.map(({ runNumber }) => runNumber))).toEqual(new Set([1]));
    // It was a race: more than one process claimed jobs.
    expect(claimers.filter((claimer) => claimer.claimed.length > 0).length).toBeGreaterThan(1);
    const workers: { jobs: number }[] = await h.dataSource.query(
      `SELECT count(*)::integer AS jobs FROM video_jobs WHERE status = 'processing' GROUP BY "workerId"`,
    );
    expect(workers.map(({ jobs }) => jobs).toSorted()).toEqual(
      claimers
        .map((claimer) => claimer.claimed.length)
        .filter((jobs) => jobs > 0)
        .toSorted(),
    );
  },
  TIMEOUT_MS,
);

it(
  'every job is completed once, while leases end early, jobs are stolen and workers are killed',
  async () => {
    const ids = await createJobs(600);
    await race({ lease: 20 });
    const isDone = async (): Promise<boolean> =>
      (await h.jobs.countJobs()).completed === ids.length;
    // Three processes are killed, whatever they do at that moment. One that got no turn completes nothing.
    for (const victim of claimers.slice(0, 3)) {
      await until(async () => victim.completed.length > 0 || (await isDone()));
      victim.process.kill('SIGKILL');
    }
    await until(isDone);
    for (const claimer of claimers) claimer.process.stdin!.end();
    await ended(claimers.slice(3));

    expect(await violations(h.dataSource)).toEqual([]);
    expect(await ledger(h.dataSource)).toEqual([
      { status: 'completed', notifications: ['success'], jobs: ids.length },
    ]);
    const completed = claimers.flatMap((claimer) => claimer.completed);
    expect(new Set(completed).size).toBe(completed.length);
    const runs = claimers.flatMap(({ claimed }) =>
      claimed.map(({ jobId, runNumber }) => `${jobId}:${runNumber}`),
    );
    expect(new Set(runs).size).toBe(runs.length);
    const refused = new Set(claimers.flatMap((claimer) => claimer.refused));
    expect(refused).toEqual(new Set(['LEASE_LOST']));
    const [row] = await h.dataSource.query(`SELECT count(*)::integer AS n FROM notification_log`);
    expect(row).toEqual({ n: ids.length });
  },
  TIMEOUT_MS,
);
