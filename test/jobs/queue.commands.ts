import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import type { ClaimJobsInput, JobHandle } from '../../src/jobs/job.inputs.js';
import { HOUR_MS, video } from './fixtures.js';
import * as model from './job.model.js';
import type { ModelJob } from './job.model.js';
import { expectVerdict, handleOf, issue, Step } from './job.world.js';
import type { Model, Real } from './job.world.js';

export const MAX_JOBS = 4;

/** Which worker calls. */
export const worker = fc.nat(1);
/** Chooses a job. It is mostly the first one, so that this job goes through many changes. */
export const which = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.nat(MAX_JOBS - 1) },
);

/** Chooses a job and one of its handles: the current one, an old one, or a forged one. */
export const grip = fc.record({
  job: which,
  age: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(4) }),
  forgery: fc.oneof(
    { weight: 9, arbitrary: fc.constant('none') },
    { weight: 1, arbitrary: fc.constantFrom('next run', 'other worker', 'no worker') },
  ),
});
export type Grip = typeof grip extends fc.Arbitrary<infer T> ? T : never;

export const pick = ({ jobs }: Model, index: number): ModelJob => {
  const job = jobs[index % jobs.length];
  assert(job !== undefined);
  return job;
};

export const gripOf = (m: Model, { job: index, age, forgery }: Grip): [ModelJob, JobHandle] => {
  const job = pick(m, index);
  const { handles, jobId, run } = job;
  const handle = handles[Math.min(age, handles.length - 1)] ?? {
    jobId,
    runNumber: run,
    workerId: null,
  };
  if (forgery === 'next run') return [job, { ...handle, runNumber: handle.runNumber + 1 }];
  if (forgery === 'other worker') return [job, { ...handle, workerId: 'somebody else' }];
  if (forgery === 'no worker') return [job, { ...handle, workerId: null }];
  return [job, handle];
};

export const peerOf = ({ workers }: Real, index: number) => {
  const found = workers[index];
  assert(found !== undefined);
  return { ...found.peer, workerId: found.workerId };
};

const create = fc.record({ worker, later: fc.boolean() }).map(
  (args) =>
    new Step(
      'createJob',
      args,
      async (m: Model, r: Real, { worker: by, later }: typeof args) => {
        if (m.jobs.length >= MAX_JOBS) return [];
        const jobId = randomUUID();
        const availableAt = later ? new Date(Date.now() + HOUR_MS) : undefined;
        const input = { ...video, userId: r.user.userId, jobId, availableAt };
        const job = await peerOf(r, by).jobs.createJob(input);
        m.jobs.push(model.newJob(jobId, !later));
        return [job];
      },
      false,
    ),
);

const createAgain = fc.record({ worker, job: which, changed: fc.boolean() }).map(
  (args) =>
    new Step('createJob again', args, async (m: Model, r: Real, { worker: by, job, changed }) => {
      const { jobId } = pick(m, job);
      const input = { ...video, userId: r.user.userId, jobId };
      const { jobs } = peerOf(r, by);
      if (!changed) return [await jobs.createJob(input)];
      await assert.rejects(jobs.createJob({ ...input, filename: 'other.mp4' }), {
        code: 'JOB_CONFLICT',
        jobId,
      });
      return [];
    }),
);

const claim = fc
  .record({
    worker,
    limit: fc.constantFrom(1, 2, 1000, 1000),
    maxAttempts: fc.constantFrom(1, 2, 2, 3),
    // All jobs belong to one user, so the fair order equals the order by age.
    how: fc.constantFrom<Pick<ClaimJobsInput, 'order' | 'maxRunningPerUser'>>(
      {},
      { order: 'age' },
      { order: 'fair' },
      { maxRunningPerUser: 1 },
      { order: 'fair', maxRunningPerUser: 2 },
    ),
  })
  .map(
    (args) =>
      new Step(
        'claimJobs',
        args,
        async (m: Model, r: Real, { worker: by, limit, maxAttempts, how }) => {
          const { jobs, workerId } = peerOf(r, by);
          const due = m.jobs.filter((job) => !m.paused && model.isClaimable(job));
          const [spent, fresh] = [
            due.filter((job) => model.isExhausted(job, maxAttempts)),
            due.filter((job) => !model.isExhausted(job, maxAttempts)),
          ];
          const places = placesFor(m, spent, how.maxRunningPerUser);
          const claimed = await jobs.claimJobs({ limit, leaseMs: HOUR_MS, maxAttempts, ...how });
          const ids = new Set(claimed.map(({ jobId }) => jobId));
          assert.equal(ids.size, claimed.length, 'a job was claimed twice in one claim');
          // Lost jobs come first, then all others by age.
          const waited = (job: ModelJob): number =>
            Number(m.rows.get(job.jobId)?.availableAt) - (model.isLeased(job) ? 1e15 : 0);
          const left = fresh.filter(({ jobId }) => !ids.has(jobId));
          const taken = fresh.filter(({ jobId }) => ids.has(jobId));
          assert.equal(taken.length, ids.size, 'a job was claimed that was not due');
          const pending = fresh.filter((job) => !model.isLeased(job)).length;
          const claimable = fresh.length - pending + Math.min(pending, places);
          assert.equal(taken.length, Math.min(limit, claimable), 'a due job was left behind');
          const inOrder = [...claimed].map(({ jobId }) =>
            waited(due.find((job) => job.jobId === jobId)!),
          );
          assert.deepEqual(
            inOrder,
            inOrder.toSorted((a, b) => a - b),
            'the order of waiting',
          );
          for (const a of taken) {
            for (const b of left) assert(waited(a) <= waited(b), 'another job waited longer');
          }
          for (const job of taken) model.claim(job, workerId);
          for (const job of claimed) issue(m, job);
          // If the claim was full, it depends on the order how many jobs without a try left it has found.
          const failed = await failedOf(r, spent);
          if (taken.length < limit && places > pending) assert.equal(failed.length, spent.length);
          for (const job of failed) model.exhaust(job, m.email);
          count(r, 'claimJobs: claimed', taken.length);
          count(r, 'claimJobs: exhausted', failed.length);
          return claimed;
        },
      ),
  );

/** How many pending jobs a claim may begin, after the lost ones without a try left have failed. */
function placesFor(m: Model, spent: ModelJob[], maxRunningPerUser = Infinity): number {
  const running = m.jobs.filter(({ status }) => status === 'processing').length;
  return Math.max(maxRunningPerUser - running + spent.filter(model.isLeased).length, 0);
}

async function failedOf({ dataSource }: Real, jobs: ModelJob[]): Promise<ModelJob[]> {
  const rows: { jobId: string }[] = await dataSource.query(
    `SELECT "jobId" FROM video_jobs WHERE status = 'failed' AND "jobId" = ANY($1::uuid[])`,
    [jobs.map(({ jobId }) => jobId)],
  );
  return jobs.filter(({ jobId }) => rows.some((row) => row.jobId === jobId));
}

export function count({ seen }: Real, label: string, times = 1): void {
  seen.set(label, (seen.get(label) ?? 0) + times);
}

const start = fc.record({ worker, job: which, leased: fc.boolean() }).map(
  (args) =>
    new Step('startJob', args, async (m: Model, r: Real, { worker: by, job: index, leased }) => {
      const { jobs, workerId } = peerOf(r, by);
      const job = pick(m, index);
      const verdict = model.start(job, leased ? workerId : null);
      const call = jobs.startJob(job.jobId, leased ? { leaseMs: HOUR_MS } : {});
      const started = await expectVerdict(r, 'startJob', verdict, call);
      if (started === undefined) return [];
      issue(m, started);
      assert.deepEqual(handleOf(started), job.handles[0]);
      return [started];
    }),
);

const lapse = fc.record({ jobs: fc.uniqueArray(which, { minLength: 1 }) }).map(
  (args) =>
    new Step('time passes', args, async (m: Model, r: Real, { jobs }) => {
      for (const job of jobs.map((index) => pick(m, index))) {
        await r.dataSource.query(
          `UPDATE video_jobs SET "availableAt" = statement_timestamp() - interval '1 minute'
           WHERE "jobId" = $1`,
          [job.jobId],
        );
        job.due = true;
      }
    }),
);

const extend = fc.record({ worker, grips: fc.array(grip, { maxLength: 3 }) }).map(
  (args) =>
    new Step('extendLeases', args, async (m: Model, r: Real, { worker: by, grips }) => {
      const gripped = grips.map((one) => gripOf(m, one));
      const held = gripped.filter(([job, handle]) => model.extend(job, handle));
      const handles = gripped.map(([, handle]) => handle);
      const ids = await peerOf(r, by).jobs.extendLeases(handles, { leaseMs: HOUR_MS });
      assert.deepEqual(new Set(ids), new Set(held.map(([{ jobId }]) => jobId)));
      count(r, 'extendLeases: held', held.length);
      count(r, 'extendLeases: lost', gripped.length - held.length);
    }),
);

const moveHouse = fc.record({}).map(
  (args) =>
    new Step(
      'the user changes the e-mail address',
      args,
      async (m: Model, r: Real) => {
        m.email = `${randomUUID()}@example.com`;
        await r.dataSource.query(`UPDATE users SET email = $2 WHERE "userId" = $1`, [
          r.user.userId,
          m.email,
        ]);
      },
      false,
    ),
);

/** Commands that create and claim jobs. Commands that move jobs are more frequent. */
export const queueCommands = [
  create,
  createAgain,
  claim,
  claim,
  start,
  lapse,
  lapse,
  extend,
  moveHouse,
];
