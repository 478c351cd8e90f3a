// The page of the example, in Chromium (`apt-get install chromium`): run it with `npm run test:examples`.
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';

const ROOT = join(import.meta.dirname, '../..');
const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const MINUTES = 60_000;

let folder: string;
let service: ChildProcess;
let browser: Browser;
let page: Page;
/** The errors of the page. */
const problems: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'frames-page-'));
  chmodSync(folder, 0o1777);
  execFileSync('npm', ['ci', '--prefix', 'examples/frames', '--no-audit', '--no-fund'], {
    cwd: ROOT,
  });
  execFileSync('npm', ['--silent', 'run', 'build'], { cwd: ROOT });
  const { DATABASE_URL: _, ...env } = process.env;
  const args = ['--import', './test/support/typescript.mjs', 'examples/frames/main.ts', '--serve'];
  service = spawn('node', args, {
    cwd: ROOT,
    env: { ...env, NODE_OPTIONS: '', TMPDIR: folder, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: service.stdout! });
  const url = await new Promise<string>((resolve) => {
    lines.on('line', (line) => line.startsWith('http:') && resolve(line));
  });
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
  page = await browser.newPage({ viewport: { width: 800, height: 420 } });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  await page.goto(url);
}, 5 * MINUTES);

afterAll(async () => {
  await browser?.close();
  if (service?.exitCode === null) {
    service.kill('SIGTERM');
    await once(service, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
}, MINUTES);

/** Makes a video, and uploads it by the page's form. */
async function upload(name: string, seconds: number, size: string): Promise<void> {
  const path = join(folder, name);
  const picture = ['-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=25:duration=${seconds}`];
  // The example has packages of its own, which the compiler of this repository does not find.
  const example = join(ROOT, 'examples/frames/ffmpeg.ts');
  const { runFfmpeg } = (await import(example)) as { runFfmpeg(args: string[]): Promise<void> };
  await runFfmpeg([...picture, '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', path]);
  await page.getByLabel('A video').setInputFiles(path);
  await page.getByRole('button', { name: 'Upload' }).click();
}

/** The processes of ffmpeg that read a video of this test. */
const ffmpegs = (): number[] =>
  execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(`-i ${folder}`))
    .map((line) => Number.parseInt(line, 10));

function signalFfmpeg(signal: 'SIGSTOP' | 'SIGCONT'): void {
  for (const pid of ffmpegs()) process.kill(pid, signal);
}

const rowOf = (name: string) => page.getByRole('listitem').filter({ hasText: name });
const barOf = (name: string) => page.getByRole('progressbar', { name: `Progress of ${name}` });
const percentOf = async (name: string): Promise<number> =>
  Number(await barOf(name).evaluate((bar) => (bar as unknown as { value: number }).value));

it(
  'shows how a video is processed, to its end, and gives the frames',
  async () => {
    await upload('clip.mp4', 2.4, '320x180');
    await rowOf('clip.mp4').getByText('60 frames', { exact: true }).waitFor();
    expect(await percentOf('clip.mp4')).toBe(100);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      rowOf('clip.mp4').getByRole('link', { name: 'Download' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('clip.mp4.zip');
    const zip = readFileSync(await download.path());
    expect(zip.subarray(0, 2).toString()).toBe('PK');
    expect(zip.toString('latin1').match(/frame-\d{6}\.jpg/g)?.length).toBe(2 * 60);
  },
  MINUTES,
);

it(
  'moves the bar while a video is processed, and stops at its cancel button',
  async () => {
    await upload('holiday.mp4', 20, '1280x720');
    const percents = new Set<number>();
    // ffmpeg works only now and then, so that also on a fast machine it is at work until it is cancelled.
    while (percents.size < 3) {
      signalFfmpeg('SIGCONT');
      await page.waitForTimeout(100);
      signalFfmpeg('SIGSTOP');
      await page.waitForTimeout(400);
      percents.add(await percentOf('holiday.mp4'));
    }
    const seen = [...percents];
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    const screenshot = process.env['SCREENSHOT'];
    if (screenshot !== undefined) await page.screenshot({ path: screenshot });
    await rowOf('holiday.mp4').getByRole('button', { name: 'Cancel' }).click();
    await rowOf('holiday.mp4').getByText('The job was cancelled: by its owner').waitFor();
    expect(await percentOf('holiday.mp4')).toBeLessThan(90);
    expect(await rowOf('holiday.mp4').getByRole('link').isVisible()).toBe(false);
    expect(await rowOf('holiday.mp4').getByRole('button').isVisible()).toBe(false);
    // ffmpeg is killed, long before it has processed the whole video.
    while (ffmpegs().length > 0) await page.waitForTimeout(50);
  },
  3 * MINUTES,
);

it(
  'shows the same after a reload, and says why a file is not a video',
  async () => {
    await page.getByLabel('A video').setInputFiles({
      name: 'notes.mp4',
      mimeType: 'video/mp4',
      buffer: Buffer.from('Buy milk.'),
    });
    await page.getByRole('button', { name: 'Upload' }).click();
    await rowOf('notes.mp4').getByText('notes.mp4 cannot be read as a video.').waitFor();
    await page.reload();
    await rowOf('clip.mp4').getByText('60 frames', { exact: true }).waitFor();
    // The videos come one after the other.
    await rowOf('notes.mp4').getByText('notes.mp4 cannot be read as a video.').waitFor();
    await rowOf('holiday.mp4').getByText('The job was cancelled: by its owner').waitFor();
    const names = await page.locator('.name').allTextContents();
    expect(names).toEqual(['notes.mp4', 'holiday.mp4', 'clip.mp4']);
    expect(problems).toEqual([]);
  },
  MINUTES,
);

it(
  'ends at SIGTERM although the page listens',
  async () => {
    service.kill('SIGTERM');
    const [code] = await once(service, 'exit');
    expect(code).toBe(0);
  },
  MINUTES,
);
