import { User } from '../../src/schema/entities/index.js';
import { blocksOf } from '../readme/readme.blocks.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
  const blocks = blocksOf('docs/beyond-one-machine.md').filter(({ kind }) => kind === 'sql');
  expect(blocks).toHaveLength(1);
  await h.dataSource.query(String(blocks[0]?.text));
});
afterAll(() => h.close());

const archived = async (): Promise<string[]> => {
  const rows: { jobId: string }[] = await h.dataSource.query(
    'SELECT "jobId" FROM video_jobs_archive ORDER BY "completedAt"',
  );
  return rows.map(({ jobId }) => jobId);
};

/** A job that was completed, with its notification delivered. */
async function completed(userId: string): Promise<string> {
  const video = { userId, filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' };
  const { jobId } = await h.jobs.createJob({ ...video, parameters: { fps: 2 } });
  const job = await h.jobs.startJob(jobId);
  await h.jobs.completeJob(job, { resultUrl: 's3://frames/cat.zip', frameCount: 1 });
  await h.dataSource.query(
    `UPDATE notification_log SET "deliveryStatus" = 'sent' WHERE "jobId" = $1`,
    [jobId],
  );
  return jobId;
}

describe('the archive of docs/beyond-one-machine.md', () => {
  it('gets what pruneJobs removes', async () => {
    const { userId } = await h.user();
    const jobIds = [await completed(userId), await completed(userId)];
    const pending = await h.jobs.createJob({ userId, filename: 'a', videoUrl: 's3://v/a' });
    const olderThan = new Date(Date.now() + 60_000);
    expect(await h.jobs.pruneJobs({ olderThan, batchSize: 1 })).toBe(2);
    expect(await archived()).toEqual(jobIds);
    const [row] = await h.dataSource.query('SELECT * FROM video_jobs_archive LIMIT 1');
    expect(row).toMatchObject({
      userId,
      status: 'completed',
      frameCount: 1,
      parameters: { fps: 2 },
    });
    expect((await h.jobs.getJob(pending.jobId)).status).toBe('pending');
  });

  it('gets nothing of a user who is deleted', async () => {
    const { userId } = await h.user();
    const before = await archived();
    const jobId = await completed(userId);
    await h.dataSource.getRepository(User).delete(userId);
    expect(await archived()).toEqual(before);
    expect(before).not.toContain(jobId);
  });
});
