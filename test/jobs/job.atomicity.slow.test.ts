import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import { text, url } from '../../src/input/rules.js';
import type { VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, ledger, notificationsOf, stored, violations } from './fixtures.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
  // Triggers make each write about a job in this table fail: before the row, after it, or at the commit.
  await h.dataSource.query(`
    CREATE TABLE sabotaged ("jobId" uuid PRIMARY KEY, "when" text NOT NULL);
    CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF EXISTS (SELECT FROM sabotaged s WHERE s."jobId" = NEW."jobId" AND s."when" = TG_ARGV[0])
        THEN RAISE 'sabotaged %', TG_ARGV[0]; END IF;
        RETURN NEW;
      END $$`);
  for (const table of ['notification_log', 'video_jobs']) {
    await h.dataSource.query(`
      CREATE TRIGGER sabotage_before BEFORE INSERT ON ${table}
        FOR EACH ROW EXECUTE FUNCTION sabotage('before');
      CREATE TRIGGER sabotage_after AFTER INSERT ON ${table}
        FOR EACH ROW EXECUTE FUNCTION sabotage('after');
      CREATE CONSTRAINT TRIGGER sabotage_commit AFTER INSERT ON ${table}
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION sabotage('commit')`);
  }
});
afterAll(() => h.close());

const sabotage = (jobs: readonly string[], when: string): Promise<unknown> =>
  h.dataSource.query(`INSERT INTO sabotaged SELECT unnest($1::uuid[]), $2`, [jobs, when]);
const repair = (): Promise<unknown> => h.dataSource.query('DELETE FROM sabotaged');

/** Text that is difficult for arrays, quotes and JSON, in every alphabet. */
const nasty = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
  fc.constantFrom('NULL', 'null', '{}', '{"a","b"}', '"', '\\', "'; --", ' ', '\t\n', ','),
  fc.constantFrom('\u202eexe.mp4', 'e\u0301', '\u00e9', '🎬'.repeat(255), '\uffff', '$1', '%s'),
);
const fileName = nasty.filter((value) => text(255).accepts(value));
const videoUrl = fc.oneof(
  fc.webUrl({ withFragments: true, withQueryParameters: true }),
  nasty.map((value) => `s3://bucket/${value}`).filter((value) => url.accepts(value)),
);

const plannedJob = fc.record({
  filename: fileName,
  videoUrl,
  named: fc.boolean(),
  ends: fc.oneof(
    fc.record({ resultUrl: videoUrl, frameCount: fc.nat(2 ** 31 - 1) }),
    fc.record({ errorMessage: fileName }),
  ),
  sabotaged: fc.boolean(),
});

const plan = fc.record({
  jobs: fc.array(plannedJob, { minLength: 1, maxLength: 8 }),
  username: fc.string({ unit: 'grapheme', maxLength: 5 }).filter((value) => !value.includes('\0')),
  workerId: fileName,
  when: fc.constantFrom('before', 'after', 'commit'),
  inBatch: fc.boolean(),
  joined: fc.boolean(),
});
type Plan = typeof plan extends fc.Arbitrary<infer T> ? T : never;
type PlannedJob = Plan['jobs'][number];

/** Makes a call in a transaction of its own, or in that of a caller. */
const call = <T>(joined: boolean, work: (options?: object) => Promise<T>): Promise<T> =>
  joined ? h.dataSource.transaction((manager) => work({ manager })) : work();

const settle = (joined: boolean, job: VideoJob, { ends }: PlannedJob): Promise<unknown> =>
  call(joined, (options) =>
    'errorMessage' in ends
      ? h.jobs.failJob(job, ends, options)
      : h.jobs.completeJob(job, ends, options),
  );

const rows = async (jobs: VideoJob[]): Promise<unknown[]> =>
  Promise.all(
    jobs.map(async ({ jobId }) => ({
      job: await stored(h.dataSource, jobId),
      notifications: await notificationsOf(h.dataSource, jobId),
      errors: await h.jobs.listAttemptErrors(jobId),
    })),
  );

it('writes jobs whole or not at all, whatever is in them and wherever it fails', async () => {
  await fc.assert(
    fc.asyncProperty(plan, async ({ jobs: planned, username, workerId, when, inBatch, joined }) => {
      const email = `${username}${randomUUID()}@example.com`;
      const { userId } = await h.user({ username: `${username}${randomUUID()}`, email });
      const ids: string[] = planned.map(() => randomUUID());

      // A job is created whole or not at all, and so is a batch of them.
      const inputs = planned.map(({ named: _, ends: __, sabotaged: ___, ...input }, index) => ({
        ...input,
        userId,
        jobId: ids[index],
      }));
      await sabotage(ids.slice(-1), when);
      await expect(call(joined, (o) => h.jobs.createJobs(inputs, o))).rejects.toThrow('sabotaged');
      await expect(call(joined, (o) => h.jobs.createJob(inputs.at(-1)!, o))).rejects.toThrow(
        'sabotaged',
      );
      expect(await ledger(h.dataSource, [userId])).toEqual([]);
      await repair();
      const created = await call(joined, (o) => h.jobs.createJobs(inputs, o));
      expect(created).toMatchObject(inputs);

      // The values that are read equal the values that were written.
      expect(await rows(created)).toMatchObject(inputs.map((job) => ({ job, notifications: [] })));
      const claimed = await h.jobs.claimJobs({ limit: 1000, leaseMs: HOUR_MS, workerId });
      expect(new Set(claimed.map(({ jobId }) => jobId))).toEqual(new Set(ids));
      const jobs = ids.map((id) => claimed.find(({ jobId }) => jobId === id) as VideoJob);
      expect(jobs.map((job) => job.workerId)).toEqual(ids.map(() => workerId));

      // A job has a final status if, and only if, it has the notification.
      const failing = ids.filter((_, index) => planned[index]!.sabotaged);
      await sabotage(failing, when);
      const before = await rows(jobs);
      const completions = jobs.flatMap((job, index) => {
        const { ends } = planned[index]!;
        return 'errorMessage' in ends ? [] : [{ job, result: ends }];
      });
      if (inBatch && completions.some(({ job }) => failing.includes(job.jobId))) {
        const batch = call(joined, (o) => h.jobs.completeJobs(completions, o));
        await expect(batch).rejects.toThrow('sabotaged');
        expect(await rows(jobs)).toEqual(before);
      }
      for (const [index, job] of jobs.entries()) {
        const settled = settle(joined, job, planned[index]!);
        if (planned[index]!.sabotaged) await expect(settled).rejects.toThrow('sabotaged');
        else await settled;
      }
      const unchanged = jobs.map((job) => failing.includes(job.jobId));
      const after = await rows(jobs);
      expect(after.filter((_, index) => unchanged[index])).toEqual(
        before.filter((_, index) => unchanged[index]),
      );
      expect(await violations(h.dataSource)).toEqual([]);

      // The same calls again, by the same handles.
      await repair();
      for (const [index, job] of jobs.entries()) {
        if (planned[index]!.sabotaged) await settle(joined, job, planned[index]!);
      }
      expect(await rows(jobs)).toMatchObject(
        planned.map(({ ends }) => ({
          job: { ...ends, status: 'errorMessage' in ends ? 'failed' : 'completed' },
          notifications: [
            {
              notificationType: 'errorMessage' in ends ? 'failure' : 'success',
              recipientEmail: email,
              runNumber: 1,
            },
          ],
          errors: 'errorMessage' in ends ? [{ ...ends, workerId, runNumber: 1 }] : [],
        })),
      );
      expect(await violations(h.dataSource)).toEqual([]);
      await h.dataSource.query(`DELETE FROM users WHERE "userId" = $1`, [userId]);
    }),
    { numRuns: 100 },
  );
}, 180_000);
