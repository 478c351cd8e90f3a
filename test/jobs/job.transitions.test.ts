import { randomUUID } from 'node:crypto';
import { NotificationType } from '../../src/schema/entities/index.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, lapse, makers, notificationsOf, result, stored } from './fixtures.js';

let h: Harness;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
});
afterAll(() => h.close());

/** A job in each state, with the current or latest handle of a run. */
const STATES: Record<string, () => Promise<VideoJob>> = {
  'pending, never run': () => make.pending(),
  'pending, to be tried again': async () => {
    const job = await make.leased();
    await h.jobs.failJob(job, { errorMessage: 'disk full', retryInMs: HOUR_MS });
    return job;
  },
  leased: () => make.leased(),
  'leased, lease over': async () => {
    const job = await make.leased();
    await lapse(h.dataSource, job);
    return job;
  },
  'without a lease': () => make.unleased(),
  stolen: async () => {
    const job = await make.leased();
    await lapse(h.dataSource, job);
    await h.jobs.startJob(job.jobId, { leaseMs: HOUR_MS, workerId: 'thief' });
    return job;
  },
  completed: async () => {
    const job = await make.leased();
    await h.jobs.completeJob(job, result);
    return job;
  },
  'completed without a lease': async () => {
    const job = await make.unleased();
    await h.jobs.completeJob(job, result);
    return job;
  },
  failed: async () => {
    const job = await make.leased();
    await h.jobs.failJob(job, { errorMessage: 'no video stream' });
    return job;
  },
  'failed without a lease': async () => {
    const job = await make.unleased();
    await h.jobs.failJob(job, { errorMessage: 'no video stream' });
    return job;
  },
};

const MOVES: Record<string, (job: VideoJob) => Promise<unknown>> = {
  startJob: ({ jobId }) => h.jobs.startJob(jobId),
  'startJob with a lease': ({ jobId }) => h.jobs.startJob(jobId, { leaseMs: HOUR_MS }),
  completeJob: (job) => h.jobs.completeJob(job, result),
  completeJobs: async (job) => {
    const [verdict] = await h.jobs.completeJobs([{ job, result }]);
    if (verdict === undefined || 'error' in verdict) throw verdict?.error;
  },
  failJob: (job) => h.jobs.failJob(job, { errorMessage: 'x' }),
  'failJob with a retry': (job) => h.jobs.failJob(job, { errorMessage: 'x', retryInMs: 0 }),
  releaseJob: (job) => h.jobs.releaseJob(job),
  retryJob: ({ jobId }) => h.jobs.retryJob(jobId),
  'logNotification of a success': ({ jobId }) =>
    h.notifications.logNotification({ jobId, notificationType: NotificationType.SUCCESS }),
  'logNotification of a failure': ({ jobId }) =>
    h.notifications.logNotification({ jobId, notificationType: NotificationType.FAILURE }),
};

const SETTLING = [
  'completeJob',
  'completeJobs',
  'failJob',
  'failJob with a retry',
  'releaseJob',
] as const;

const ILLEGAL = 'INVALID_JOB_TRANSITION';
const LOST = 'LEASE_LOST';

/** The result of each move in each state. All moves that settle a job have the same result. */
const VERDICTS: Record<keyof typeof STATES, [start: string, settle: string, retry: string]> = {
  'pending, never run': ['done', ILLEGAL, ILLEGAL],
  'pending, to be tried again': ['done', LOST, ILLEGAL],
  leased: [ILLEGAL, 'done', ILLEGAL],
  'leased, lease over': ['done', 'done', ILLEGAL],
  'without a lease': [ILLEGAL, 'done', ILLEGAL],
  stolen: [ILLEGAL, LOST, ILLEGAL],
  completed: [ILLEGAL, LOST, ILLEGAL],
  'completed without a lease': [ILLEGAL, ILLEGAL, ILLEGAL],
  failed: [ILLEGAL, LOST, 'done'],
  'failed without a lease': [ILLEGAL, ILLEGAL, 'done'],
};

const logs = (state: string, kind: string): string => (state.startsWith(kind) ? 'done' : ILLEGAL);

const matrix = Object.entries(VERDICTS).flatMap(([state, [start, settle, retry]]) => [
  [state, 'startJob', start],
  [state, 'startJob with a lease', start],
  ...SETTLING.map((move) => [state, move, settle]),
  [state, 'retryJob', retry],
  [state, 'logNotification of a success', logs(state, 'completed')],
  [state, 'logNotification of a failure', logs(state, 'failed')],
]) as [string, string, string][];

it('contains every move and every state', () => {
  expect(matrix).toHaveLength(Object.keys(STATES).length * Object.keys(MOVES).length);
});

it.each(matrix)('%s: %s is %s', async (state, move, verdict) => {
  const job = await STATES[state]!();
  const before = await stored(h.dataSource, job.jobId);
  const logged = await notificationsOf(h.dataSource, job.jobId);
  const call = MOVES[move]!(job);
  if (verdict === 'done') {
    await call;
    return;
  }
  await expect(call).rejects.toMatchObject({
    code: verdict,
    jobId: job.jobId,
    status: before.status,
    runNumber: before.runNumber,
    message: expect.stringContaining(job.jobId),
  });
  expect(await stored(h.dataSource, job.jobId)).toEqual(before);
  expect(await notificationsOf(h.dataSource, job.jobId)).toEqual(logged);
});

describe('the verdict', () => {
  it.each(Object.entries(MOVES))(
    'of %s is JOB_NOT_FOUND for a job that does not exist',
    async (_, move) => {
      const jobId = randomUUID();
      const job = { ...(await make.leased()), jobId };
      await expect(move(job)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND', jobId });
    },
  );

  it.each(SETTLING)(
    'of %s is LEASE_LOST for an older run, also if the status is wrong too',
    async (move) => {
      const job = await make.completed();
      const stale = { ...job, runNumber: job.runNumber - 1 };
      const refusal = { code: LOST, status: 'completed', runNumber: 1 };
      await expect(MOVES[move]!(stale)).rejects.toMatchObject(refusal);
      const stranger = { ...job, workerId: 'somebody else' };
      await expect(MOVES[move]!(stranger)).rejects.toMatchObject(refusal);
      await expect(MOVES[move]!(job)).rejects.toMatchObject({ ...refusal, code: ILLEGAL });
    },
  );

  it.each(SETTLING)(
    'of %s is LEASE_LOST for a run or a worker that does not exist',
    async (move) => {
      const job = await make.leased();
      for (const forged of [
        { ...job, runNumber: job.runNumber + 1 },
        { ...job, workerId: null },
        { ...job, workerId: 'worker-2' },
        { ...job, workerId: 'WORKER-1' },
      ]) {
        await expect(MOVES[move]!(forged)).rejects.toMatchObject({
          code: LOST,
          status: 'processing',
          runNumber: 1,
        });
      }
      expect(await stored(h.dataSource, job.jobId)).toMatchObject({ status: 'processing' });
    },
  );
});
