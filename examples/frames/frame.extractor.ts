import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VideoJob } from '@frameforge/shared-types';
import { UnrecoverableJobError, VideoJobProcessor } from '@frameforge/shared-types/worker';
import type { JobContext, JobOutcome, VideoJobHandler } from '@frameforge/shared-types/worker';
import { Injectable } from '@nestjs/common';
import { Zip, ZipPassThrough } from 'fflate';
import { FfmpegError, runFfmpeg } from './ffmpeg.js';
import type { OnProgress } from './ffmpeg.js';
import { Storage } from './storage.js';

@Injectable()
@VideoJobProcessor({ concurrency: 2 })
export class FrameExtractor implements VideoJobHandler {
  constructor(private readonly storage: Storage) {}

  async process(job: VideoJob, { signal, progress }: JobContext): Promise<JobOutcome> {
    const folder = await mkdtemp(join(tmpdir(), 'frameforge-run-'));
    try {
      await extractFrames(job, this.storage.get(job.videoUrl), folder, signal, (count, percent) => {
        // The last tenth of the progress is for the zip file.
        progress((percent ?? 0) * 0.9, `${count} frames`);
      });
      const frames = (await readdir(folder)).toSorted();
      // Each run has its own file name, so a run that is too late cannot overwrite the result of another run.
      progress(90, `${frames.length} frames, into a zip file`);
      const name = `${job.jobId}.${job.runNumber}.zip`;
      const resultUrl = await this.storage.put(name, zip(folder, frames), signal);
      return { resultUrl, frameCount: frames.length };
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  }
}

async function extractFrames(
  { filename }: VideoJob,
  video: string,
  folder: string,
  signal: AbortSignal,
  onProgress: OnProgress,
): Promise<void> {
  // Videos of users cannot be trusted: some formats contain addresses that ffmpeg would open.
  const input = ['-protocol_whitelist', 'file', '-i', video];
  const everyFrame = ['-map', '0:v:0', '-vsync', '0', '-q:v', '2'];
  try {
    await runFfmpeg([...input, ...everyFrame, join(folder, 'frame-%06d.jpg')], signal, onProgress);
  } catch (error) {
    const isNoVideo =
      error instanceof FfmpegError && /Invalid data found|matches no streams/.test(error.stderr);
    if (!isNoVideo) throw error;
    // Another try cannot make the video readable. After a full disk or a lost lease, another try can help.
    throw new UnrecoverableJobError(`${filename} cannot be read as a video.`, { cause: error });
  }
}

/** Makes a zip file of the frames. It reads one frame at a time, because a long video would not fit into memory. */
async function* zip(folder: string, frames: readonly string[]): AsyncGenerator<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const file = new Zip((error, chunk) => {
    if (error) throw error;
    chunks.push(chunk);
  });
  for (const frame of frames) {
    const entry = new ZipPassThrough(frame); // JPEGs do not get smaller.
    file.add(entry);
    entry.push(await readFile(join(folder, frame)), true);
    yield* chunks.splice(0);
  }
  file.end();
  yield* chunks;
}
