import { JobService } from '../../src/jobs/job.service.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import { FrameForgeWorker } from '../../src/worker/index.js';
import { HOUR_MS } from '../jobs/fixtures.js';
import { query } from '../support/query.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';
import { bootWorker } from './app.js';
import type { WorkerProcess } from './worker.process.js';
import { World } from './world.js';

/** This is longer than any test lasts, so each job that starts was started by a wake-up. */
const NO_POLLS = { pollMs: 2 ** 30 };

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
afterEach(() => world.clear());

it('new work of the same process starts without a poll', async () => {
  const delivered: string[] = [];
  const deliver = async ({ jobId }: { jobId: string }): Promise<void> => {
    delivered.push(jobId);
  };
  const app = await bootWorker(world.harness.url, { deliver }, NO_POLLS);
  try {
    const jobs = app.get(JobService);
    const [input] = world.inputs('a');
    const created = await jobs.createJob(input!);
    // The new job wakes the loop of jobs, and its completion wakes the loop of deliveries.
    await until(() => delivered.includes(created.jobId));
    const { jobId } = await jobs.dataSource.transaction(async (manager) => {
      const inside = await jobs.createJob(input!, { manager });
      await jobs.createJobs([input!, input!], { manager });
      return inside;
    });
    await until(() => delivered.includes(jobId));
    await until(() => delivered.length === 4);
  } finally {
    await app.close();
  }
});

it('a job that failed starts at once when it is retried by hand', async () => {
  const [job] = await world.create('a');
  const [claimed] = await world.harness.jobs.claimJobs();
  await world.harness.jobs.failJob(claimed!, { errorMessage: 'broken' });
  const app = await bootWorker(world.harness.url, {}, NO_POLLS);
  try {
    await app.get(JobService).retryJob(job!.jobId);
    expect(await world.final(job!)).toMatchObject({ status: 'completed' });
  } finally {
    await app.close();
  }
});

it('work of another process starts by its NOTIFY, also after the listener has lost its connection', async () => {
  // LISTEN needs a session of the server. NOTIFY also works through a pooler.
  const server = onServer(world.harness.url);
  const listening = await world.worker({ worker: { ...NO_POLLS, listen: true } }, server);
  const creating = await world.worker({
    processes: false,
    database: { notifyWorkers: true },
    worker: NO_POLLS,
  });
  const create = async (): Promise<string> => {
    const before = listening.all('ended').length;
    creating.ask({ type: 'create', jobs: world.inputs('sleep:0') });
    await until(() => listening.all('ended').length > before);
    return listening.all('ended').at(-1)!.jobId;
  };
  const jobId = await create();
  expect(await world.final({ jobId })).toMatchObject({ status: 'completed' });

  // This process sends no NOTIFY, so the job is found when the listener is back.
  const [unheard] = await world.create('sleep:0');
  const ended = await query(
    world.harness.url,
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE datname = current_database() AND query LIKE 'LISTEN%'`,
  );
  expect(ended).toHaveLength(1);
  await until(() => listening.logged('log').includes('The database works again.'));
  expect(await world.final(unheard!)).toMatchObject({ status: 'completed' });
  await create();
  expect(listening.logged('warn')).toEqual([
    expect.stringMatching(/^Listening for wake-ups failed, .*the connection ended/),
  ]);
});

const aborted = (worker: WorkerProcess, { jobId }: VideoJob) =>
  worker.next('aborted', (event) => event.jobId === jobId);

describe('a handler whose job is cancelled in another process is told', () => {
  it('by its NOTIFY, long before a heartbeat, and by the check after the listener is back', async () => {
    const options = { pollMs: 20, leaseMs: HOUR_MS, listen: true };
    const listening = await world.worker({ worker: options }, onServer(world.harness.url));
    const cancelling = await world.worker({
      processes: false,
      database: { notifyWorkers: true },
      worker: NO_POLLS,
    });
    const jobs = await world.create('wait', 'wait');
    // The worker may not listen yet. When it does, it finds the cancelled jobs.
    for (const job of jobs) await listening.started(job);
    cancelling.ask({ type: 'cancel', jobId: jobs[0]!.jobId });
    expect((await aborted(listening, jobs[0]!)).reason).toContain('was cancelled');

    // This process sends no NOTIFY.
    await world.harness.jobs.cancelJob(jobs[1]!.jobId);
    const ended = await query(
      world.harness.url,
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
       WHERE datname = current_database() AND query LIKE 'LISTEN%'`,
    );
    expect(ended).toHaveLength(1);
    expect((await aborted(listening, jobs[1]!)).reason).toContain('was cancelled');
    expect((await listening.stats()).counts).toMatchObject({ 'jobs.cancelled': 2, 'jobs.lost': 0 });
  });

  it('by its next heartbeat, without a NOTIFY', async () => {
    const worker = await world.worker({ worker: { leaseMs: 3_000 } });
    const [job] = await world.create('wait');
    await worker.started(job!);
    await world.harness.jobs.cancelJob(job!.jobId);
    expect((await aborted(worker, job!)).reason).toContain('was cancelled');
    await until(async () => (await worker.stats()).counts['jobs.cancelled'] === 1);
    expect(worker.all('ended')).toEqual([]);
  });
});

it('many jobs that are created at once cause few NOTIFY messages', async () => {
  const app = await bootWorker(
    world.harness.url,
    { database: { notifyWorkers: true }, concurrency: 1 },
    NO_POLLS,
  );
  const client = await world.listen('frameforge_queue');
  try {
    const jobs = app.get(JobService);
    const begun = performance.now();
    await Promise.all(
      world.inputs(...Array.from({ length: 300 }, () => 'a')).map((input) => jobs.createJob(input)),
    );
    const tookMs = performance.now() - begun;
    await until(() => app.get(FrameForgeWorker).stats().counts['jobs.completed'] === 300);
    await until(() => client.received.length > 0);
    const about = client.received.filter((queue) => queue === 'jobs');
    expect(about.length).toBeGreaterThan(0);
    // One message tells of all jobs within 10 ms. A timer may fire a millisecond early. A fast machine creates many jobs
    // in this time, and a slow one few.
    expect(about.length).toBeLessThan(tookMs / 9 + 2);
  } finally {
    await client.end();
    await app.close();
  }
});
