import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import * as model from './job.model.js';
import type { ModelJob } from './job.model.js';
import { Step } from './job.world.js';
import type { Model, Real } from './job.world.js';
import { count, peerOf, worker } from './queue.commands.js';

const args = fc.record({ worker, dryRun: fc.boolean() });

const isOpen = ({ status }: ModelJob): boolean => status === 'pending' || status === 'processing';

const retryAll = args.map(
  (given) =>
    new Step('retryJobs', given, async (m: Model, r: Real, { worker: by, dryRun }) => {
      const failed = m.jobs.filter(({ status, cancelled }) => status === 'failed' && !cancelled);
      const filter = { userId: r.user.userId, dryRun };
      const outcome = await peerOf(r, by).jobs.retryJobs(filter);
      const changed = dryRun ? 0 : failed.length;
      assert.deepEqual(outcome, { matched: failed.length, changed });
      if (!dryRun) for (const job of failed) model.retry(job);
      count(r, `retryJobs: ${dryRun ? 'counted' : 'done'}`, failed.length);
    }),
);

const cancelAll = args.map(
  (given) =>
    new Step('cancelJobs', given, async (m: Model, r: Real, { worker: by, dryRun }) => {
      const open = m.jobs.filter(isOpen);
      const filter = { userId: r.user.userId, dryRun };
      const outcome = await peerOf(r, by).jobs.cancelJobs(filter);
      assert.deepEqual(outcome, { matched: open.length, changed: dryRun ? 0 : open.length });
      if (!dryRun) for (const job of open) model.cancel(job, m.email);
      count(r, `cancelJobs: ${dryRun ? 'counted' : 'done'}`, open.length);
    }),
);

/** Commands that change many jobs at once. They are rare, because each ends many jobs. */
export const bulkCommands = [retryAll, cancelAll];
