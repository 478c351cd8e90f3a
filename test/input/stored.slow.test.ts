import * as fc from 'fast-check';
import { InvalidInputError } from '../../src/errors.js';
import { NotificationType } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { text } from './input.arbitraries.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

it('stores each accepted value unchanged', async () => {
  const { userId } = await h.user();
  const accepted = { jobs: 0 };
  await fc.assert(
    fc.asyncProperty(text, text, fc.webUrl(), async (filename, errorMessage, videoUrl) => {
      const created = await h.jobs
        .createJob({ userId, filename, videoUrl })
        .catch((error: unknown) => error);
      if (created instanceof InvalidInputError) return;
      const { jobId } = created as { jobId: string };
      expect(await h.jobs.getJob(jobId)).toMatchObject({ filename, videoUrl });
      const run = await h.jobs.startJob(jobId);
      const failed = await h.jobs.failJob(run, { errorMessage }).catch((error: unknown) => error);
      if (!(failed instanceof InvalidInputError)) {
        expect(await h.jobs.getJob(jobId)).toMatchObject({ errorMessage });
      }
      accepted.jobs += 1;
    }),
    { numRuns: 150 },
  );
  expect(accepted.jobs).toBeGreaterThan(30);
});

it('stores each accepted e-mail address unchanged', async () => {
  const { userId } = await h.user();
  await fc.assert(
    fc.asyncProperty(fc.emailAddress(), async (recipientEmail) => {
      const [row] = await h.dataSource.query(
        `INSERT INTO video_jobs ("userId", filename, "videoUrl", status)
         VALUES ($1, 'f', 's3://b/k', 'completed') RETURNING "jobId"`,
        [userId],
      );
      const { jobId } = row as { jobId: string };
      expect(
        await h.notifications.logNotification({
          jobId,
          notificationType: NotificationType.SUCCESS,
          recipientEmail,
        }),
      ).toMatchObject({ recipientEmail });
    }),
    { numRuns: 50 },
  );
});
