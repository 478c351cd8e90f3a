import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { NotificationType } from '../../src/schema/entities/index.js';
import { HOUR_MS } from './fixtures.js';
import * as model from './job.model.js';
import type { Outcome } from './job.model.js';
import { assertRefusal, expectVerdict, Step } from './job.world.js';
import type { Model, Real } from './job.world.js';
import { count, grip, gripOf, peerOf, pick, which, worker } from './queue.commands.js';

const done = { resultUrl: 's3://frames/cat.zip', frameCount: 7 };

const outcome: fc.Arbitrary<Outcome> = fc.oneof(
  { weight: 1, arbitrary: fc.constant({ to: 'completed' as const, ...done }) },
  { weight: 3, arbitrary: fc.constant({ to: 'failed' as const, errorMessage: 'no video stream' }) },
  {
    weight: 3,
    arbitrary: fc
      .boolean()
      .map((due) => ({ to: 'retried' as const, errorMessage: 'disk full', due })),
  },
  { weight: 2, arbitrary: fc.constant({ to: 'released' as const }) },
);

const settle = fc.record({ worker, grip, outcome }).map(
  (args) =>
    new Step(
      'settle',
      args,
      async (m: Model, r: Real, { worker: by, grip: one, outcome: wanted }: typeof args) => {
        const [job, handle] = gripOf(m, one);
        const { run } = job;
        const verdict = model.settle(job, handle, wanted, m.email);
        if (job.run > run) count(r, 'settled under a number of its own');
        const { jobs } = peerOf(r, by);
        const settled = async () => {
          if (wanted.to === 'completed') return jobs.completeJob(handle, done);
          if (wanted.to === 'released') return { job: await jobs.releaseJob(handle) };
          const { errorMessage } = wanted;
          if (wanted.to === 'failed') return jobs.failJob(handle, { errorMessage });
          return jobs.failJob(handle, { errorMessage, retryInMs: wanted.due ? 0 : HOUR_MS });
        };
        const written = await expectVerdict(r, wanted.to, verdict, settled());
        return written === undefined ? [] : [written.job];
      },
    ),
);

const completeInOneTurn = fc.record({ worker, grip, calls: fc.integer({ min: 2, max: 3 }) }).map(
  (args) =>
    new Step(
      'complete in one turn',
      args,
      async (m: Model, r: Real, { worker: by, grip: one, calls }) => {
        const [job, handle] = gripOf(m, one);
        const { jobs } = peerOf(r, by);
        const ended = await Promise.allSettled(
          Array.from({ length: calls }, (_, index) =>
            jobs.completeJob(handle, { ...done, frameCount: index }),
          ),
        );
        const first = ended.findIndex(({ status }) => status === 'fulfilled');
        const accepted = ended.flatMap((end) =>
          end.status === 'fulfilled' ? [end.value.job] : [],
        );
        const wanted = { to: 'completed' as const, ...done, frameCount: first };
        const verdict = model.settle(job, handle, wanted, m.email);
        assert.equal(accepted.length, verdict === 'done' ? 1 : 0);
        count(r, `in one turn: ${verdict === 'done' ? 'done' : verdict.code}`);
        // A later call finds the job as the first call left it.
        const later = verdict === 'done' ? model.settle(job, handle, wanted, m.email) : verdict;
        for (const end of ended) {
          if (end.status === 'rejected') assertRefusal(end.reason, later);
        }
        return accepted;
      },
    ),
);

const completeMany = fc
  .record({ worker, grips: fc.array(grip, { minLength: 1, maxLength: 4 }) })
  .map(
    (args) =>
      new Step('completeJobs', args, async (m: Model, r: Real, { worker: by, grips }) => {
        const batch = new Map(grips.map((one) => gripOf(m, one)));
        const verdicts = [...batch].map(([job, handle]) =>
          model.settle(job, handle, { to: 'completed', ...done }, m.email),
        );
        const entries = [...batch.values()].map((job) => ({ job, result: done }));
        const written = await peerOf(r, by).jobs.completeJobs(entries);
        assert.equal(written.length, entries.length);
        return written.flatMap((one, index) => {
          count(r, `completeJobs: ${'error' in one ? one.error.code : 'done'}`);
          if (!('error' in one)) {
            assert.equal(verdicts[index], 'done');
            return [one.job];
          }
          assertRefusal(one.error, verdicts[index] ?? 'done');
          return [];
        });
      }),
  );

const retry = fc.record({ worker, job: which }).map(
  (args) =>
    new Step('retryJob', args, async (m: Model, r: Real, { worker: by, job: index }) => {
      const job = pick(m, index);
      const call = peerOf(r, by).jobs.retryJob(job.jobId);
      const retried = await expectVerdict(r, 'retryJob', model.retry(job), call);
      return retried === undefined ? [] : [retried];
    }),
);

const log = fc
  .record({
    worker,
    job: which,
    tells: fc.constantFrom(
      'the truth' as const,
      'the truth' as const,
      ...Object.values(NotificationType),
    ),
    recipientEmail: fc.option(fc.constant('ops@example.com'), { nil: undefined }),
  })
  .map(
    (args) =>
      new Step(
        'logNotification',
        args,
        async (m: Model, r: Real, { worker: by, job: index, tells, recipientEmail }) => {
          const job = pick(m, index);
          const truth =
            job.status === 'completed' ? NotificationType.SUCCESS : NotificationType.FAILURE;
          const told = tells === 'the truth' ? truth : tells;
          const { run } = job;
          const verdict = model.log(job, told, recipientEmail ?? m.email);
          if (job.run > run) count(r, 'logged under a number of its own');
          const logged = await expectVerdict(
            r,
            'logNotification',
            verdict,
            peerOf(r, by).notifications.logNotification({
              jobId: job.jobId,
              notificationType: told,
              recipientEmail,
            }),
          );
          if (logged === undefined) return;
          assert.equal(logged.runNumber, job.run);
          assert.equal(logged.notificationType, told);
        },
      ),
  );

/** Commands that finish, give back, retry and log. */
export const settleCommands = [settle, settle, settle, completeInOneTurn, completeMany, retry, log];
