import { setTimeout as sleep } from 'node:timers/promises';
import { openHarness } from '../../support/harness.js';
import type { Harness } from '../../support/harness.js';
import { until } from '../../support/until.js';
import { openPeer, video } from '../fixtures.js';
import type { Peer } from '../fixtures.js';
import { Watched } from './watched.js';

let h: Harness;
let other: Peer;
beforeAll(async () => {
  h = await openHarness();
  other = await openPeer(h.url);
});
afterAll(async () => {
  await other.close();
  await h.close();
});

it('emits a job that another process created in a long transaction', async () => {
  const { userId } = await h.user();
  const watched = new Watched(h.jobs.watchJobs({ userId }));
  const later = async (): Promise<void> => {
    const before = watched.told.length;
    await h.jobs.createJob({ ...video, userId });
    await until(() => watched.told.length === before + 1);
  };
  await later();
  const { jobId } = await other.dataSource.transaction(async (manager) => {
    const created = await other.jobs.createJob({ ...video, userId }, { manager });
    // The times in the row are as if the transaction had begun ten minutes ago.
    await manager.query(
      `UPDATE video_jobs SET "createdAt" = "createdAt" - interval '10 minutes' WHERE "jobId" = $1`,
      [created.jobId],
    );
    await sleep(2_500);
    await later();
    return created;
  });
  await until(() => watched.told.length === 3);
  expect(watched.told[2]).toMatchObject({ jobId, status: 'pending' });
  watched.leave();
}, 30_000);
