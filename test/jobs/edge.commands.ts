import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { StatementTimeoutError } from '../../src/errors.js';
import { VideoJob } from '../../src/schema/entities/index.js';
import { HOUR_MS, result } from './fixtures.js';
import * as model from './job.model.js';
import type { ModelJob } from './job.model.js';
import { expectVerdict, issue, Step } from './job.world.js';
import type { Model, Real } from './job.world.js';
import { count, peerOf, pick, which, worker } from './queue.commands.js';

// Actions of an application and of a database that do not go through the services.

/** Rows that the application has read with a repository and not saved yet. */
const read = new WeakMap<Model, Map<string, VideoJob>>();

async function readEntity(m: Model, r: Real, job: ModelJob): Promise<void> {
  const { jobId } = job;
  const rows = read.get(m) ?? new Map<string, VideoJob>();
  rows.set(jobId, await r.dataSource.getRepository(VideoJob).findOneByOrFail({ jobId }));
  read.set(m, rows);
}

const ofARun = ({
  status,
  startedAt,
  completedAt,
  resultUrl,
  frameCount,
  errorMessage,
}: VideoJob) => ({ status, startedAt, completedAt, resultUrl, frameCount, errorMessage });
const token = ({ runNumber, workerId, attempts }: VideoJob) => ({ runNumber, workerId, attempts });

/** Saves rows that were read earlier, perhaps long ago. A save may end a run, and does nothing else. */
async function saveEntity(m: Model, r: Real, job: ModelJob): Promise<void> {
  const stale = read.get(m)?.get(job.jobId);
  if (stale === undefined) return;
  read.get(m)?.delete(job.jobId);
  const repository = r.dataSource.getRepository(VideoJob);
  const before = await repository.findOneByOrFail({ jobId: job.jobId });
  const isOfNow = isDeepStrictEqual(token(stale), token(before));
  const { status, resultUrl, frameCount, errorMessage } = stale;
  const changes = !isDeepStrictEqual(ofARun(stale), ofARun(before));
  const saved = await repository.save(stale).then(
    () => true,
    (error: { code?: string }) => {
      assert.equal(error.code, 'STALE_ENTITY', String(error));
      return false;
    },
  );
  const ends = job.status === 'processing' && status !== 'processing';
  assert.equal(saved, ends || !changes || (job.status === status && isOfNow));
  count(r, `stale save: ${saved ? '' : 'refused: '}${job.status} to ${status}`);
  if (!saved) return;
  if (ends) job.worker = null;
  if (status === 'completed') job.progress = 100;
  // A save by a repository never gives out a run number again, and never logs a notification.
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

/** Reads a job that is processing, and saves it when it is pending again, or in its next run. */
const savesLate = fc.record({ job: which, by: worker, starts: fc.boolean() }).map(
  (args) =>
    new Step('save entity late', args, async (m: Model, r: Real, { job: index, by, starts }) => {
      const job = pick(m, index);
      if (job.status !== 'processing') return;
      await readEntity(m, r, job);
      const { jobs, workerId } = peerOf(r, by);
      const verdict = model.cancel(job, m.email);
      await expectVerdict(r, 'cancelJob', verdict, jobs.cancelJob(job.jobId));
      await expectVerdict(r, 'retryJob', model.retry(job), jobs.retryJob(job.jobId));
      if (starts) {
        const begins = model.start(job, workerId);
        const call = jobs.startJob(job.jobId, { leaseMs: HOUR_MS });
        issue(m, (await expectVerdict(r, 'startJob', begins, call))!);
      }
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
