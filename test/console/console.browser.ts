import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import type { INestApplication } from '@nestjs/common';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { REPOSITORY } from '../consumer/consumer.project.js';
import { makers } from '../jobs/fixtures.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { Proxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { ADAPTERS, bootConsole } from './console.app.js';
import { buildPages } from './console.build.js';
import { makeUpADay, NASTY } from '../../examples/console/made-up.day.js';

/** The parts of the page that the functions inside it use. */
declare const document: {
  readonly documentElement: { readonly scrollWidth: number };
  readonly activeElement: { readonly textContent: string | null } | null;
  dispatchEvent(event: Event): boolean;
};

/** The charts in the answer of the overview. */
interface Overview {
  readonly lastHour: readonly { readonly at: string }[];
  readonly lastWeek: readonly { readonly at: string }[];
}

const IMAGES = join(REPOSITORY, 'docs/images');
/** The pictures in docs/images. SCREENSHOTS=1 takes them anew. */
const PICTURES = new Set([
  'overview-light',
  'overview-dark',
  'overview-light-phone',
  'jobs-light',
  'jobs-dark',
  'job-light',
  'job-dark',
  'job-dark-phone',
  'notifications-light',
  'notifications-dark',
  'outage-light',
]);
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 900 };

let h: Harness;
let browser: Browser;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  buildPages();
  h = await openHarness();
  await makeUpADay(h.dataSource, { jobs: 5_000 });
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});
afterAll(async () => {
  await browser.close();
  await h.close();
});

/** Boots, and closes at the end of the test. */
async function boot(...[url, adapter, options]: Parameters<typeof bootConsole>) {
  const booted = await bootConsole(url, adapter, options);
  closing.push(() => booted.app.close());
  return booted;
}

/** The errors of a page. No test expects one. */
interface Seen {
  readonly page: Page;
  readonly errors: string[];
}

async function open(
  url: string,
  options: Parameters<Browser['newContext']>[0] = {},
): Promise<Seen> {
  const context: BrowserContext = await browser.newContext({
    viewport: DESK,
    timezoneId: 'Asia/Kolkata',
    locale: 'en',
    ...options,
  });
  closing.push(() => context.close());
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('dialog', (dialog) => {
    errors.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) errors.push(request.url());
  });
  await page.goto(url);
  return { page, errors };
}

/** The problems that axe-core finds, in words. */
async function violations(page: Page): Promise<string[]> {
  // This does not add a script element, because the policy of the page forbids it.
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    const found = await axe.run();
    return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
  });
}

async function picture(page: Page, name: string): Promise<void> {
  if (process.env['SCREENSHOTS'] === undefined || !PICTURES.has(name)) return;
  await page.screenshot({ path: join(IMAGES, `console-${name}.png`) });
}

const heading = (page: Page, name: string) => page.getByRole('heading', { level: 1, name });
const rows = (page: Page) => page.locator('tbody tr');

/**
 * A reverse proxy that shows an application below a path of its own.
 *
 * @param holdsBack - it sends an answer when it has all of it, so that no stream comes through
 */
async function behindProxy(target: string, prefix: string, holdsBack = false): Promise<string> {
  const { hostname, port } = new URL(target);
  const server = createServer((incoming, outgoing) => {
    const { url = '', method, headers } = incoming;
    if (!url.startsWith(prefix)) {
      outgoing.writeHead(404).end();
      return;
    }
    const path = url.slice(prefix.length) || '/';
    // It names its own host to the application, as most do.
    const forwarded = { ...headers, host: 'inner.example', 'x-forwarded-host': headers.host };
    const inner = httpRequest({ hostname, port, path, method, headers: forwarded }, (answer) => {
      const head = (): unknown => outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      if (holdsBack) {
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.on('end', () => {
          head();
          outgoing.end(Buffer.concat(parts));
        });
      } else {
        head();
        answer.pipe(outgoing);
      }
      outgoing.on('close', () => answer.destroy());
    });
    inner.on('error', () => outgoing.destroy());
    incoming.pipe(inner);
  });
  server.listen(0, '127.0.0.1');
  await until(async () => server.listening);
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}`;
}

const PAGES = [
  ['overview', 'Overview'],
  ['jobs', 'Jobs'],
  ['notifications', 'Notifications'],
] as const;

describe.each(ADAPTERS)('on %s', (adapter) => {
  it('shows every page below a prefix, and reaches each by links', async () => {
    const { url } = await boot(h.url, adapter, { prefix: 'api/v1' });
    const { page, errors } = await open(`${url}/api/v1/frameforge`);
    await heading(page, 'Overview').waitFor();
    await page.getByText('Jobs per minute, last hour').waitFor();
    for (const [path, title] of PAGES.toReversed()) {
      await page.getByRole('navigation', { name: 'Pages' }).getByText(title).click();
      await heading(page, title).waitFor();
      expect(new URL(page.url()).pathname).toBe(`/api/v1/frameforge/${path}`);
      await page.reload();
      await heading(page, title).waitFor();
    }
    await page.goto(`${url}/api/v1/frameforge/jobs`);
    await rows(page).first().getByRole('link').first().click();
    await page.getByRole('heading', { name: 'Life' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'Life' }).waitFor();
    expect(errors).toEqual([]);
  });

  it("works below a reverse proxy's path, with its actions", async () => {
    const { url } = await boot(h.url, adapter);
    const outside = await behindProxy(url, '/ops/tools');
    const { page, errors } = await open(`${outside}/frameforge`);
    await heading(page, 'Overview').waitFor();
    await page.getByRole('navigation', { name: 'Pages' }).getByText('Jobs').click();
    await rows(page).first().waitFor();
    expect(page.url()).toBe(`${outside}/frameforge/jobs`);
    await page.goto(`${outside}/frameforge/jobs?status=failed`);
    const first = rows(page).first();
    const name = await first.getByRole('link').first().textContent();
    const href = await first.getByRole('link').first().getAttribute('href');
    await first.getByRole('checkbox').check();
    await page.getByRole('button', { name: 'Retry', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Retry 1 job' }).click();
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    const job = await h.jobs.getJob(String(href).split('/').at(-1)!);
    expect(job).toMatchObject({ filename: name, status: 'pending', attempts: 0 });
    expect(errors).toEqual([]);
  });
});

it('shows nothing to somebody whom a guard refuses, and says so when the guard refuses later', async () => {
  const { url, doorman } = await boot(h.url, 'express');
  doorman.isOpen = false;
  const { page } = await open(`${url}/frameforge`);
  expect(await page.locator('body').textContent()).toContain('Unauthorized');
  doorman.isOpen = true;
  await page.reload();
  await heading(page, 'Overview').waitFor();
  doorman.isOpen = false;
  await page.getByText('You are no longer allowed to see this').waitFor();
});

it('shows nothing more to somebody who signs out while a stream tells of changes', async () => {
  const { userId, username } = await h.user();
  const create = (filename: string) =>
    h.jobs.createJob({ userId, filename, videoUrl: 's3://videos/1' });
  await create('before.mp4');
  const { url, doorman } = await boot(h.url, 'express');
  const { page } = await open(`${url}/frameforge/jobs?user=${username}`);
  await page.getByRole('link', { name: 'before.mp4' }).waitFor();
  await create('meanwhile.mp4');
  await page.getByRole('link', { name: 'meanwhile.mp4' }).waitFor();
  doorman.isOpen = false;
  await page.getByText('You are no longer allowed to see this').waitFor({ timeout: 60_000 });
  // The page shows no jobs any more: neither those created later nor those that it showed before.
  await create('after.mp4');
  const paths = requestsOf(page);
  await until(async () => paths.filter((path) => path.endsWith('/api/jobs')).length >= 2);
  expect(await page.locator('main').textContent()).not.toMatch(/\.mp4/);
  doorman.isOpen = true;
  await page.getByRole('link', { name: 'after.mp4' }).waitFor();
});

/** A time, in the time zone of the reader. */
const clock = (point: { readonly at: string } | undefined): string =>
  new Date(point!.at)
    .toLocaleString('en', {
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
      timeZone: 'Asia/Kolkata',
    })
    .slice(-5);

it('ends the charts with the last whole minute and hour', async () => {
  const { url } = await boot(h.url, 'express');
  const read = async () => {
    const answer = await fetch(`${url}/frameforge/api/overview`);
    return ((await answer.json()) as { data: Overview }).data;
  };
  const { page, errors } = await open(`${url}/frameforge/jobs`);
  /** The last time that a chart shows, in the time zone of the reader. */
  const endOf = async (title: string) => {
    const figure = page.locator('figure', { has: page.getByRole('heading', { name: title }) });
    return (await figure.locator('.legend > :last-child').textContent())?.slice(-5);
  };
  for (;;) {
    const before = await read();
    await page.goto(`${url}/frameforge`);
    await page.getByText('Jobs per minute, last hour').waitFor();
    const [minute, hour] = [await endOf('Jobs per minute'), await endOf('Jobs per hour')];
    const after = await read();
    // A new minute began meanwhile, so it is not known which minute the page shows.
    if (before.lastHour.at(-1)?.at !== after.lastHour.at(-1)?.at) continue;
    expect([minute, hour]).toEqual([clock(after.lastHour.at(-2)), clock(after.lastWeek.at(-2))]);
    break;
  }
  expect(errors).toEqual([]);
});

it('filters and pages by the address: back, forward, reload and a sent link work', async () => {
  const { url } = await boot(h.url, 'express');
  const { page, errors } = await open(`${url}/frameforge/jobs`);
  await rows(page).first().waitFor();
  expect(await rows(page).count()).toBe(50);
  const firstOf = () => rows(page).first().getByRole('link').first().getAttribute('href');
  const first = await firstOf();
  await page.getByLabel('Status').selectOption('completed');
  await page.waitForURL(/status=completed/);
  await until(async () =>
    (await page.locator('tbody .status').allTextContents()).every((text) => text === 'completed'),
  );
  const completed = await firstOf();
  await page.getByRole('link', { name: 'Next page' }).click();
  await page.waitForURL(/cursor=/);
  await until(async () => (await firstOf()) !== completed);
  const second = await firstOf();
  await page.reload();
  await until(async () => (await firstOf()) === second);
  const { page: other } = await open(page.url());
  await until(
    async () =>
      (await rows(other).first().getByRole('link').first().getAttribute('href')) === second,
  );
  await page.goBack();
  await until(async () => (await firstOf()) === completed);
  await page.goBack();
  await until(async () => (await firstOf()) === first);
  await page.goForward();
  await until(async () => (await firstOf()) === completed);
  await page.getByLabel('User').fill('nobody');
  await page.getByText('There is no user of this name').waitFor();
  await page.getByLabel('User').fill('user7');
  await until(async () => (await rows(page).count()) > 0);
  const users = await page.locator('tbody td:nth-child(4)').allTextContents();
  expect(new Set(users)).toEqual(new Set(['user7']));
  await page.getByLabel('File or error').fill('surely not there');
  await page.getByText('No job matches').waitFor();
  expect(errors).toEqual([]);
});

it('shows what users have typed as text', async () => {
  const { url } = await boot(h.url, 'express');
  const { page, errors } = await open(`${url}/frameforge/jobs?text=onerror`);
  await page.getByRole('link', { name: NASTY, exact: true }).click();
  await heading(page, NASTY).waitFor();
  expect(await page.locator('main img').count()).toBe(0);
  // The address of a video is a link only if a browser may follow it.
  expect(await page.locator('a[href^="javascript:"], a[href^="s3:"]').count()).toBe(0);
  expect(errors).toEqual([]);
});

it.each([
  ['javascript:alert(1)', 'java\tscript:alert(2)'],
  [' JavaScript:alert(1)//http://', 'data:text/html,<script>alert(2)</script>'],
  ['vbscript:alert(1)', 'blob:https://videos.example/1'],
])('shows %j and %j as text, and not as links', async (videoUrl, resultUrl) => {
  const { userId, username } = await h.user();
  const { jobId } = await h.jobs.createJob({ userId, filename: videoUrl, videoUrl: 's3://v/1' });
  // The services refuse such addresses. Older services may have stored them.
  await h.dataSource.query(
    `UPDATE video_jobs SET "videoUrl" = $2, "resultUrl" = $3, "frameCount" = 1 WHERE "jobId" = $1`,
    [jobId, videoUrl, resultUrl],
  );
  const { url } = await boot(h.url, 'express');
  const { page, errors } = await open(`${url}/frameforge/jobs?user=${username}`);
  /** The addresses of the links of the page. */
  const schemes = async () =>
    new Set(
      await page
        .locator('a')
        .evaluateAll((links) =>
          links.map((link) => (link as unknown as { protocol: string }).protocol),
        ),
    );
  const link = rows(page).first().getByRole('link').first();
  expect(await link.textContent()).toBe(videoUrl);
  expect(await schemes()).toEqual(new Set(['http:']));
  await link.click();
  await page.getByRole('heading', { name: 'Life' }).waitFor();
  const facts = page.locator('.facts');
  for (const typed of [videoUrl, resultUrl]) {
    expect(await facts.locator('code').allTextContents()).toContain(typed);
  }
  expect(await schemes()).toEqual(new Set(['http:']));
  expect(errors).toEqual([]);
});

it('cancels a job on its page, and shows its life', async () => {
  const { userId } = await h.user();
  const { jobId } = await h.jobs.createJob({
    userId,
    filename: 'holiday.mp4',
    videoUrl: 'https://videos.example/holiday.mp4',
    parameters: { every: 5 },
  });
  const { url } = await boot(h.url, 'fastify');
  const { page, errors } = await open(`${url}/frameforge/jobs/${jobId}`);
  await page.getByText('Due: waits for a worker').waitFor();
  expect(await page.getByRole('link', { name: 'https://videos.example' }).getAttribute('rel')).toBe(
    'noopener noreferrer nofollow',
  );
  await page.getByText('"every": 5').waitFor();
  const run = await h.jobs.startJob(jobId, { leaseMs: 60_000, workerId: 'worker-9' });
  await page.getByText('Latest run started by worker-9').waitFor();
  await h.jobs.reportProgress([{ job: run, percent: 40, message: 'frame 400' }]);
  await page.getByText('frame 400').waitFor();
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await page.getByRole('button', { name: 'Leave it' }).click();
  expect(await h.jobs.getJob(jobId)).toMatchObject({ status: 'processing' });
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel 1 job' }).click();
  await page.locator('.title .status', { hasText: 'cancelled' }).waitFor();
  expect(await h.jobs.getJob(jobId)).toMatchObject({ status: 'failed' });
  await page.getByRole('button', { name: 'Retry', exact: true }).waitFor();
  expect(errors).toEqual([]);
});

it('shows the count and asks, then retries all that match; delivers again in the same way', async () => {
  const { userId } = await h.user({ username: 'bulk' });
  const videos = Array.from({ length: 60 }, (_, i) => ({
    userId,
    filename: `bulk-${i}.mp4`,
    videoUrl: 's3://videos/bulk.mp4',
  }));
  for (const { jobId } of await h.jobs.createJobs(videos)) {
    const run = await h.jobs.startJob(jobId, { leaseMs: 60_000, workerId: 'w' });
    await h.jobs.failJob(run, { errorMessage: 'no video' });
  }
  // A job that is created in the second in which a list is shown may be missing from the list.
  await sleep(1_100);
  const { url } = await boot(h.url, 'express');
  const { page, errors } = await open(`${url}/frameforge/jobs?user=bulk&status=failed`);
  await rows(page).first().waitFor();
  await page.getByRole('button', { name: 'Retry all that match' }).click();
  await page.getByText('60 jobs match.').waitFor();
  expect((await h.jobs.countJobs({ userId })).failed).toBe(60);
  await page.getByRole('button', { name: 'Retry 60 jobs' }).click();
  await page.getByText('60 of 60 jobs done.').waitFor();
  expect((await h.jobs.countJobs({ userId })).pending).toBe(60);
  await page.getByRole('button', { name: 'Close' }).click();
  await page.getByText('No job matches').waitFor();
  await page.goto(`${url}/frameforge/notifications?status=failed`);
  const href = await rows(page).first().getByRole('link').getAttribute('href');
  await rows(page).first().getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Deliver again', exact: true }).click();
  await page.getByRole('button', { name: 'Deliver again 1 notification' }).click();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  const { notifications } = await h.notifications.listNotifications({
    jobId: String(href).split('/').at(-1)!,
  });
  expect(notifications[0]).toMatchObject({ deliveryStatus: 'pending' });
  expect(errors).toEqual([]);
});

/** A job whose user could not be told that it failed. */
async function untold(userId: string): Promise<string> {
  const { jobId } = await makers(h).leased('worker-1', userId);
  await h.jobs.failJob(await h.jobs.getJob(jobId), { errorMessage: 'no video stream' });
  await h.dataSource.query(
    `UPDATE notification_log SET "deliveryStatus" = 'failed', "deliveryNumber" = 10, "retryCount" = 10,
       "errorMessage" = '550 no such mailbox' WHERE "jobId" = $1`,
    [jobId],
  );
  return jobId;
}

/** Reads the notifications of some jobs from the database. */
const deliveriesOf = (jobIds: readonly string[]): Promise<object[]> =>
  h.dataSource.query(
    `SELECT "deliveryStatus", "retryCount", "availableAt" <= now() AS "isDue" FROM notification_log
     JOIN unnest($1::uuid[]) WITH ORDINALITY AS wanted ("jobId", place) USING ("jobId")
     ORDER BY place`,
    [jobIds],
  );
const DUE = { deliveryStatus: 'pending', retryCount: 0, isDue: true };
const GIVEN_UP = { deliveryStatus: 'failed', retryCount: 10 };

it("delivers again on a job's page", async () => {
  const { userId } = await h.user();
  const jobs = [await untold(userId), await untold(userId)];
  const { url } = await boot(h.url, 'express');
  const { page, errors } = await open(`${url}/frameforge/jobs/${jobs[0]}`);
  await page.getByText('550 no such mailbox').waitFor();
  await page.getByRole('button', { name: 'Deliver again', exact: true }).click();
  await page.getByRole('button', { name: 'Leave it' }).click();
  expect(await deliveriesOf(jobs)).toMatchObject([GIVEN_UP, GIVEN_UP]);
  await page.getByRole('button', { name: 'Deliver again', exact: true }).click();
  await page.getByRole('button', { name: 'Deliver again 1 notification' }).click();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  expect(await deliveriesOf(jobs)).toMatchObject([DUE, GIVEN_UP]);
  // The page shows the new delivery. Only a failed notification can be delivered again, so the button is gone.
  await rows(page).locator('.status', { hasText: 'pending' }).waitFor();
  expect(await page.getByRole('button', { name: 'Deliver again', exact: true }).count()).toBe(0);
  expect(errors).toEqual([]);
});

it('delivers again those notifications that are marked', async () => {
  const { userId, email } = await h.user();
  const jobs = [await untold(userId), await untold(userId), await untold(userId)];
  const { url } = await boot(h.url, 'express');
  const query = `status=failed&text=${encodeURIComponent(email)}`;
  const { page, errors } = await open(`${url}/frameforge/notifications?${query}`);
  await rows(page).nth(2).waitFor();
  const again = page.getByRole('button', { name: 'Deliver again', exact: true });
  expect(await again.isDisabled()).toBe(true);
  for (const jobId of [jobs[0], jobs[2]]) {
    const row = rows(page).filter({ has: page.locator(`a[href="jobs/${jobId}"]`) });
    await row.getByRole('checkbox').check();
  }
  await page.getByText('2 marked').waitFor();
  await again.click();
  await page.getByRole('button', { name: 'Deliver again 2 notifications' }).click();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  expect(await deliveriesOf(jobs)).toMatchObject([DUE, GIVEN_UP, DUE]);
  await until(async () => (await rows(page).count()) === 1);
  expect(errors).toEqual([]);
});

/** The addresses that a page asks for, from now on. */
function requestsOf(page: Page): string[] {
  const paths: string[] = [];
  page.on('request', (request) => paths.push(new URL(request.url()).pathname));
  return paths;
}

describe.each([
  ['by a stream', false],
  ['by polls, where a proxy holds streams back', true],
])('%s', (_, holdsBack) => {
  it('shows what changes', async () => {
    const { userId, username } = await h.user();
    const create = (filename: string) =>
      h.jobs.createJob({ userId, filename, videoUrl: 's3://videos/1' });
    await create('one.mp4');
    const { url } = await boot(h.url, 'express');
    const root = holdsBack ? await behindProxy(url, '/slow', true) : url;
    const { page, errors } = await open(`${root}/frameforge/jobs?user=${username}`);
    await page.getByRole('link', { name: 'one.mp4' }).waitFor();
    // By then it is known whether a stream comes through.
    await page.waitForTimeout(10_000);
    const paths = requestsOf(page);
    await page.waitForTimeout(8_000);
    const asked = paths.filter((path) => path.endsWith('/api/jobs')).length;
    if (holdsBack) expect(asked).toBeGreaterThan(0);
    else expect(asked).toBeLessThan(2);
    await create('two.mp4');
    await page.getByRole('link', { name: 'two.mp4' }).waitFor();
    expect(errors).toEqual([]);
  });

  it('tells of an outage, and recovers by itself', async () => {
    const proxy = await Proxy.start(h.url);
    closing.push(() => proxy.stop());
    const { url } = await boot(proxy.url, 'express', { database: { poolSize: 2 } });
    const root = holdsBack ? await behindProxy(url, '/slow', true) : url;
    const { page } = await open(`${root}/frameforge`);
    await page.getByText('Jobs per minute, last hour').waitFor();
    proxy.silent = true;
    proxy.cut();
    await page.getByText('The database does not answer.').waitFor({ timeout: 60_000 });
    // The values that were read before stay on the page.
    await page.getByText('Jobs per minute, last hour').waitFor();
    if (!holdsBack) await picture(page, 'outage-light');
    proxy.silent = false;
    proxy.cut();
    await page
      .getByText('The database does not answer.')
      .waitFor({ state: 'hidden', timeout: 60_000 });
  });
});

it('tells that the application is away, and recovers when it is back', async () => {
  const { app, url } = await bootConsole(h.url, 'express');
  const { page } = await open(`${url}/frameforge`);
  await page.getByText('Jobs per minute, last hour').waitFor();
  await app.close();
  await page.getByText('The application does not answer.').waitFor();
  const { port } = new URL(url);
  await boot(h.url, 'express', { port: Number(port) });
  await page.getByText('The application does not answer.').waitFor({ state: 'hidden' });
});

/** Makes the page believe that its tab is hidden, or visible again. */
const hide = (page: Page, hidden: boolean) =>
  page.evaluate((isHidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);

it('costs nothing while the tab is hidden', async () => {
  const proxy = await Proxy.start(h.url);
  closing.push(() => proxy.stop());
  const { url } = await boot(proxy.url, 'express');
  const { page } = await open(`${url}/frameforge/jobs`);
  await rows(page).first().waitFor();
  await page.waitForTimeout(1_000);
  await hide(page, true);
  const paths = requestsOf(page);
  // A read that had begun may still end, and the page shows its values. Then nothing is read any more.
  await until(async () => {
    paths.splice(0);
    proxy.reset();
    await page.waitForTimeout(7_000);
    return paths.length === 0 && proxy.traffic.roundTrips === 0;
  });
  await hide(page, false);
  await until(async () => paths.length > 0 && proxy.traffic.roundTrips > 0);
});

/** How many statements a number of tabs cost in some seconds. */
const statements = async (tabs: number, holdsBack: boolean): Promise<number> => {
  const proxy = await Proxy.start(h.url);
  closing.push(() => proxy.stop());
  const { url } = await boot(proxy.url, 'express');
  const root = holdsBack ? await behindProxy(url, '/slow', true) : url;
  const pages = await Promise.all(
    Array.from({ length: tabs }, () => open(`${root}/frameforge/jobs`)),
  );
  for (const { page } of pages) await rows(page).first().waitFor();
  await pages[0]!.page.waitForTimeout(10_000);
  proxy.reset();
  await pages[0]!.page.waitForTimeout(15_000);
  const { roundTrips } = proxy.traffic;
  for (const close of closing.splice(0).toReversed()) await close();
  return roundTrips;
};

it.each([
  ['by a stream', false],
  ['by polls', true],
])('ten tabs cost the database no more than one, %s', async (_, holdsBack) => {
  const [one, ten] = [await statements(1, holdsBack), await statements(10, holdsBack)];
  expect(one).toBeGreaterThan(0);
  // Each of the two times may contain one read more or less. Without sharing, ten tabs would cost ten times as much.
  expect(ten).toBeLessThan(2.5 * one);
});

it('leaves connections of the browser for other requests when many tabs are open', async () => {
  const { url } = await boot(h.url, 'express');
  const { page: first } = await open(`${url}/frameforge/jobs`);
  const tabs = [first];
  for (let i = 0; i < 8; i += 1) {
    const tab = await first.context().newPage();
    await tab.goto(`${url}/frameforge/jobs`);
    tabs.push(tab);
  }
  for (const tab of tabs) await rows(tab).first().waitFor();
});

describe.each(['light', 'dark'] as const)('in %s', (colorScheme) => {
  it('has no violation of axe-core on any page, and fits a phone', async () => {
    const { url } = await boot(h.url, 'express');
    const { found } = { found: await h.jobs.listJobs({ status: 'failed', limit: 1 }) };
    const { jobId } = found.jobs[0]!;
    const all = [
      ['overview', 'overview'],
      ['jobs', 'jobs'],
      ['jobs?text=surely-not-there', undefined],
      [`jobs/${jobId}`, 'job'],
      ['notifications', 'notifications'],
    ] as const;
    for (const viewport of [DESK, PHONE]) {
      const { page, errors } = await open(`${url}/frameforge`, { colorScheme, viewport });
      for (const [path, name] of all) {
        await page.goto(`${url}/frameforge/${path}`);
        await page.locator('h1').waitFor();
        await page.locator('.loading').waitFor({ state: 'detached' });
        await page.waitForLoadState('networkidle');
        expect({ path, found: await violations(page) }).toEqual({ path, found: [] });
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        expect({ path, fits: width <= viewport.width }).toEqual({ path, fits: true });
        if (name !== undefined) {
          const size = viewport === PHONE ? '-phone' : '';
          await picture(page, `${name}-${colorScheme}${size}`);
        }
      }
      expect(errors).toEqual([]);
    }
  });
});

it('works by the keyboard alone', async () => {
  const { url } = await boot(h.url, 'express');
  const { page, errors } = await open(`${url}/frameforge/jobs?status=failed`);
  await rows(page).first().waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? '');
  await page.keyboard.press('Tab');
  expect(await focused()).toBe('To the content');
  const address = page.url();
  await page.keyboard.press('Enter');
  expect(await page.locator('main').evaluate((main) => main.matches(':focus'))).toBe(true);
  expect(page.url()).toBe(address);
  const mark = rows(page).first().getByRole('checkbox');
  for (let i = 0; i < 60; i += 1) {
    if (await mark.evaluate((element) => (element as unknown) === document.activeElement)) break;
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Space');
  await page.getByText('1 marked').waitFor();
  await page.getByRole('button', { name: 'Retry', exact: true }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  expect(await violations(page)).toEqual([]);
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  expect(errors).toEqual([]);
});

it('shows times in the time zone of the reader, and in UTC when the pointer is on them', async () => {
  const { url } = await boot(h.url, 'express');
  const { found } = { found: await h.jobs.listJobs({ limit: 1 }) };
  const { jobId, createdAt } = found.jobs[0]!;
  const { page } = await open(`${url}/frameforge/jobs/${jobId}`);
  const time = page.locator('.life time').first();
  await time.waitFor();
  expect(await time.getAttribute('title')).toBe(
    `${createdAt.toISOString().replace('T', ' ').replace('Z', '')} UTC`,
  );
  const minutes = new Date(createdAt.getTime() + 330 * 60_000).toISOString().slice(11, 16);
  expect(await time.textContent()).toContain(minutes);
});

it('says what to do where a list is empty', async () => {
  const empty = await openHarness();
  closing.push(() => empty.close());
  const booted: { app: INestApplication; url: string } = await boot(empty.url, 'express');
  const { page, errors } = await open(`${booted.url}/frameforge`);
  await page.getByText('No worker has reported').waitFor();
  expect(await violations(page)).toEqual([]);
  await page.goto(`${booted.url}/frameforge/jobs`);
  await page.getByText('There are no jobs yet').waitFor();
  await page.goto(`${booted.url}/frameforge/jobs/00000000-0000-4000-8000-000000000000`);
  await page.getByText('does not exist').waitFor();
  await page.goto(`${booted.url}/frameforge/notifications`);
  await page.getByText('There are no notifications yet').waitFor();
  expect(errors.filter((error) => !error.includes('404'))).toEqual([]);
});
