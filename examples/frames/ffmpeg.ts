import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import ffmpeg from '@ffmpeg-installer/ffmpeg';

/** How far ffmpeg has come: how many frames, and how many percent if it knows how long the video is. */
export type OnProgress = (frames: number, percent: number | undefined) => void;

/** What ffmpeg says when it fails. */
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
    // Its last words are the reason; a broken video makes it say very much.
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
  // The signal's abort is an `error`, which `once` throws.
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new FfmpegError(said);
}

/** How long the video is, as ffmpeg says at its start, in ms. */
function durationIn(text: string): number | undefined {
  const [, hours, minutes, seconds] = /Duration: (\d+):(\d+):([\d.]+)/.exec(text) ?? [];
  if (seconds === undefined) return undefined;
  return ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000;
}
