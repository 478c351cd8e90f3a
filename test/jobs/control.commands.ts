import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import * as model from './job.model.js';
import { expectVerdict, Step } from './job.world.js';
import type { Model, Real } from './job.world.js';
import { count, grip, gripOf, peerOf, pick, which, worker } from './queue.commands.js';

const cancel = fc.record({ worker, job: which }).map(
  (args) =>
    new Step('cancelJob', args, async (m: Model, r: Real, { worker: by, job: index }) => {
      const job = pick(m, index);
      const [wasCancelled, before] = [job.cancelled, job.status];
      const verdict = model.cancel(job, m.email);
      const call = peerOf(r, by).jobs.cancelJob(job.jobId);
      const cancelled = await expectVerdict(r, 'cancelJob', verdict, call);
      if (cancelled === undefined) return [];
      count(r, `cancelJob: ${wasCancelled ? 'again' : `of a ${before} job`}`);
      return [cancelled];
    }),
);

const progress = fc
  .record({
    worker,
    reports: fc.array(
      fc.record({
        grip,
        percent: fc.integer({ min: 0, max: 100 }),
        message: fc.option(fc.constantFrom('reading', 'writing'), { nil: undefined }),
      }),
      { maxLength: 3 },
    ),
  })
  .map(
    (args) =>
      new Step('reportProgress', args, async (m: Model, r: Real, { worker: by, reports }) => {
        const gripped = new Map(
          reports.map(({ grip: one, ...report }) => {
            const [job, handle] = gripOf(m, one);
            return [job, { ...report, job: handle }];
          }),
        );
        const held = [...gripped].filter(([job, report]) =>
          model.report(job, report.job, report.percent, report.message ?? null),
        );
        const ids = await peerOf(r, by).jobs.reportProgress([...gripped.values()]);
        assert.deepEqual(new Set(ids), new Set(held.map(([{ jobId }]) => jobId)));
        count(r, 'reportProgress: held', held.length);
        count(r, 'reportProgress: lost', gripped.size - held.length);
      }),
  );

const pause = fc.record({ worker, paused: fc.boolean() }).map(
  (args) =>
    new Step(
      'pause or resume',
      args,
      async (m: Model, r: Real, { worker: by, paused }: typeof args) => {
        const { jobs } = peerOf(r, by);
        await (paused ? jobs.pauseProcessing() : jobs.resumeProcessing());
        m.paused = paused;
      },
      false,
    ),
);

/** Commands that cancel, report progress, and pause processing. */
export const controlCommands = [cancel, cancel, progress, progress, pause];
