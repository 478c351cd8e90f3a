import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import ffmpeg from '@ffmpeg-installer/ffmpeg';

/** The progress of ffmpeg: the number of frames, and the percentage if the length of the video is known. */
export type OnProgress = (frames: number, percent: number | undefined) => void;

/** The error that ffmpeg prints. */
export class FfmpegError extends Error {
  constructor(readonly stderr: string) {
    super(`ffmpeg failed: ${stderr.trim().split('\n').at(-1)}`);
  }
}

/** Runs ffmpeg, and kills it when the signal is aborted. */
export async function runFfmpeg(
  args: readonly string[],
  signal?: AbortSignal,
  onProgress: OnProgress = () => {},
): Promise<void> {
  const options = ['-nostdin', '-nostats', '-progress', 'pipe:1'];
  const child = spawn(ffmpeg.path, [...options, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    // The last lines contain the reason. For a broken video, ffmpeg prints very many lines.
    said = (said + text).slice(-100_000);
  });
  let durationMs: number | undefined;
  const told = { frames: 0, ms: 0 };
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [name, value] = line.split('=');
    if (name === 'frame') told.frames = Number(value);
    if (name === 'out_time_us') told.ms = Number(value) / 1_000;
    if (name !== 'progress') return;
    durationMs ??= durationIn(said);
    onProgress(told.frames, durationMs && (100 * told.ms) / durationMs);
  });
  // If the signal is aborted, the process emits `error`, and `once` throws it.
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new FfmpegError(said);
}

/** The length of the video in ms. ffmpeg prints it at its start. */
function durationIn(text: string): number | undefined {
  const [, hours, minutes, seconds] = /Duration: (\d+):(\d+):([\d.]+)/.exec(text) ?? [];
  if (seconds === undefined) return undefined;
  return ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000;
}
