import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { StatementTimeoutError } from '../../src/errors.js';
import { VideoJob } from '../../src/schema/entities/index.js';
import { result } from './fixtures.js';
import * as model from './job.model.js';
import type { ModelJob } from './job.model.js';
import { expectVerdict, Step } from './job.world.js';
import type { Model, Real } from './job.world.js';
import { count, peerOf, pick, which, worker } from './queue.commands.js';

// Actions of an application and of a database that do not go through the services.

/** Rows that an application has read by a repository, and has not written back yet. */
const read = new WeakMap<Model, Map<string, VideoJob>>();

async function readEntity(m: Model, r: Real, job: ModelJob): Promise<void> {
  const { jobId } = job;
  const rows = read.get(m) ?? new Map<string, VideoJob>();
  rows.set(jobId, await r.dataSource.getRepository(VideoJob).findOneByOrFail({ jobId }));
  read.set(m, rows);
}

/** Saves rows that were read before, however long ago. */
async function saveEntity(m: Model, r: Real, job: ModelJob): Promise<void> {
  const stale = read.get(m)?.get(job.jobId);
  if (stale === undefined) return;
  read.get(m)?.delete(job.jobId);
  const saved = await r.dataSource
    .getRepository(VideoJob)
    .save(stale)
    .then(
      () => true,
      (error: { code?: string }) => {
        assert.equal(error.code, '23514', String(error));
        return false;
      },
    );
  const { status, resultUrl, frameCount, errorMessage } = stale;
  const uncompletes = job.status === 'completed' && status !== 'completed';
  const revives = job.cancelled && (status === 'processing' || status === 'completed');
  assert.equal(saved, !uncompletes && !revives);
  count(r, `stale save: ${saved ? `${job.status} to ${status}` : 'refused'}`);
  if (!saved) return;
  if (job.status === 'processing' && status !== 'processing') job.worker = null;
  if (job.status === 'failed' && status === 'pending') {
    Object.assign(job, { attempts: 0, cancelled: false, due: true, progress: 0 });
    job.progressMessage = null;
  }
  if (status === 'completed') job.progress = 100;
  // It never issues a run again, and never logs a notification.
  Object.assign(job, { status, resultUrl, frameCount, errorMessage });
}

/** A completion in a transaction that waits for a lock until the server ends the statement. */
async function timeOut(r: Real, job: ModelJob, by: number): Promise<void> {
  const [handle] = job.handles;
  if (handle === undefined) return;
  const { jobs } = peerOf(r, by);
  const holder = r.dataSource.createQueryRunner();
  await holder.startTransaction();
  try {
    await holder.query('SELECT FROM video_jobs WHERE "jobId" = $1 FOR UPDATE', [job.jobId]);
    const late = jobs.dataSource.transaction(async (manager) => {
      await manager.query(`SET LOCAL lock_timeout = '1ms'`);
      await jobs.completeJob(handle, result, { manager });
    });
    await assert.rejects(late, StatementTimeoutError);
    count(r, 'timed out');
  } finally {
    await holder.rollbackTransaction();
    await holder.release();
  }
}

const reads = fc
  .record({ job: which })
  .map(
    (args) =>
      new Step('read entity', args, (m: Model, r: Real, { job }) => readEntity(m, r, pick(m, job))),
  );

const saves = fc
  .record({ job: which })
  .map(
    (args) =>
      new Step('save entity', args, (m: Model, r: Real, { job }) => saveEntity(m, r, pick(m, job))),
  );

/** Reads a job that is at work, and saves it once it is pending again. */
const savesLate = fc.record({ job: which, by: worker }).map(
  (args) =>
    new Step('save entity late', args, async (m: Model, r: Real, { job: index, by }) => {
      const job = pick(m, index);
      if (job.status !== 'processing') return;
      await readEntity(m, r, job);
      const { jobs } = peerOf(r, by);
      const verdict = model.cancel(job, m.email);
      await expectVerdict(r, 'cancelJob', verdict, jobs.cancelJob(job.jobId));
      await expectVerdict(r, 'retryJob', model.retry(job), jobs.retryJob(job.jobId));
      await saveEntity(m, r, job);
    }),
);

const timesOut = fc
  .record({ job: which, by: worker })
  .map(
    (args) =>
      new Step('time out', args, (m: Model, r: Real, { job, by }) => timeOut(r, pick(m, job), by)),
  );

export const edgeCommands = [reads, saves, saves, savesLate, timesOut];
