import { JobService } from '../../src/index.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { makers, result, video } from './fixtures.js';

let h: Harness;
let userId: string;
beforeAll(async () => {
  h = await openHarness();
  ({ userId } = await h.user());
});
afterAll(() => h.close());

const refusal = (property: string): object => ({
  code: 'INVALID_INPUT',
  problems: [{ property, message: expect.stringContaining('https, http, s3, gs, file') }],
});

it.each(['https', 'http', 's3', 'gs', 'file', 'S3'])('accepts %s:// by default', async (scheme) => {
  const videoUrl = `${scheme}://videos/cat.mp4`;
  expect(await h.jobs.createJob({ userId, filename: 'cat.mp4', videoUrl })).toMatchObject({
    videoUrl,
  });
});

it.each(['javascript://x/%0Aalert(1)', 'data://text/html,x', 'ftp://host/cat.mp4'])(
  'refuses %s, and writes nothing',
  async (url) => {
    const bad = { ...video, userId, videoUrl: url };
    const good = { ...video, userId };
    await expect(h.jobs.createJob(bad)).rejects.toMatchObject(refusal('videoUrl'));
    await expect(h.jobs.createJobs([good, bad])).rejects.toMatchObject(
      refusal('inputs.1.videoUrl'),
    );
    const [job, other] = [await makers(h).leased(), await makers(h).leased()];
    const wrong = { resultUrl: url, frameCount: 1 };
    await expect(h.jobs.completeJob(job, wrong)).rejects.toMatchObject(refusal('resultUrl'));
    const batch = [
      { job: other, result },
      { job, result: wrong },
    ];
    await expect(h.jobs.completeJobs(batch)).rejects.toMatchObject(
      refusal('completions.1.result.resultUrl'),
    );
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'processing' });
    expect(await h.jobs.getJob(other.jobId)).toMatchObject({ status: 'processing' });
  },
);

it('accepts the schemes that the application names', async () => {
  const jobs = new JobService(h.dataSource, { urlSchemes: ['ftp'] });
  const job = await jobs.createJob({ ...video, userId, videoUrl: 'ftp://host/cat.mp4' });
  expect(job.videoUrl).toBe('ftp://host/cat.mp4');
  await expect(jobs.createJob({ ...video, userId })).rejects.toMatchObject({
    problems: [{ property: 'videoUrl' }],
  });
});
