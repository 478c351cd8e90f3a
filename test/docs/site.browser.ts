import { spawnSync } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, Locator, Page } from 'playwright-core';
import { REPOSITORY } from '../consumer/consumer.project.js';
import { until } from '../support/until.js';

/** The parts of the page that the functions inside it use. */
declare const document: { readonly body: object };
declare function getComputedStyle(element: object): { readonly backgroundColor: string };
declare const createImageBitmap: (picture: unknown) => Promise<{ width: number; height: number }>;
declare const OffscreenCanvas: new (
  width: number,
  height: number,
) => {
  getContext(kind: '2d'): {
    drawImage(picture: object, x: number, y: number): void;
    getImageData(x: number, y: number, width: number, height: number): { data: Uint8Array };
  };
};

const SITE = join(REPOSITORY, 'docs/.vitepress/dist');
/** The site stands below a path, as on a host that serves several sites. */
const BASE = '/shared-types/';
const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.woff2': 'font/woff2',
};

let server: Server;
let origin: string;
let browser: Browser;

beforeAll(async () => {
  const { status, stdout } = spawnSync(process.execPath, ['scripts/docs.mjs'], {
    cwd: REPOSITORY,
    env: { ...process.env, DOCS_BASE: BASE, NODE_OPTIONS: '' },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`The site could not be built:\n${stdout}`);
  server = createServer(({ url = '/' }, response) => {
    const path = decodeURI(new URL(url, 'http://site').pathname);
    const name = path.startsWith(BASE) ? path.slice(BASE.length) : undefined;
    const file = [name, `${name}.html`, `${name}index.html`]
      .map((candidate) => join(SITE, String(candidate)))
      .find((candidate) => extname(candidate) !== '' && existsSync(candidate));
    if (name === undefined || file === undefined) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'text/plain' });
    createReadStream(file).pipe(response);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
});
afterAll(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});

/** Opens a page of the site. `problems` gets each error, each answer but a success, and each request to another host. */
async function open(path: string, colorScheme: 'light' | 'dark' = 'light') {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    colorScheme,
  });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith('http') && url.origin !== origin) problems.push(url.href);
  });
  page.on('requestfailed', (request) => problems.push(`failed: ${request.url()}`));
  page.on('response', (response) => {
    if (response.status() >= 400) problems.push(`${response.status()}: ${response.url()}`);
  });
  await page.goto(`${origin}${BASE}${path}`, { waitUntil: 'networkidle' });
  return { page, problems, close: () => context.close() };
}

/** How bright a picture is on the screen, from 0 to 255. */
async function brightnessOf(page: Page, picture: Locator): Promise<number> {
  const png = (await picture.screenshot()).toString('base64');
  return page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
    canvas.drawImage(bitmap, 0, 0);
    const { data } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
    return (
      data.reduce((sum, value, index) => (index % 4 === 3 ? sum : sum + value), 0) /
      (data.length * 0.75)
    );
  }, png);
}

const background = (page: Page): Promise<string> =>
  page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const shown = (page: Page): Locator => page.locator('main img:visible').first();
const theSwitch = (page: Page): Locator => page.locator('button.VPSwitchAppearance:visible');

it('finds a word, and goes from a result to its page', async () => {
  const { page, problems, close } = await open('');
  await page.getByRole('button', { name: 'Search' }).first().click();
  await page.getByRole('searchbox').fill('fencing token');
  const result = page.locator('.VPLocalSearchBox a.result').first();
  await result.waitFor();
  const href = String(await result.getAttribute('href'));
  expect(href.startsWith(BASE)).toBe(true);
  await result.click();
  await page.waitForURL(`**${href}`);
  await expectText(page, /fencing token/i);
  expect(problems).toEqual([]);
  await close();
});

async function expectText(page: Page, text: RegExp): Promise<void> {
  await page.locator('main').getByText(text).first().waitFor();
}

it.each([
  ['an SVG', 'reference/job-life'],
  ['a pair of screenshots', 'guides/console'],
])('changes the colours of a page, and of %s, with the theme', async (_, path) => {
  const { page, problems, close } = await open(path);
  // The picture is there, but may not be on the screen yet.
  await shown(page).evaluate('(picture) => picture.decode()');
  const light = [await background(page), await brightnessOf(page, shown(page))] as const;
  await theSwitch(page).click();
  await page.waitForFunction(`document.documentElement.classList.contains('dark')`);
  await until(async () => (await brightnessOf(page, shown(page))) < light[1] / 2);
  expect(await background(page)).not.toBe(light[0]);
  await theSwitch(page).click();
  await until(async () => (await brightnessOf(page, shown(page))) === light[1]);
  expect(problems).toEqual([]);
  await close();
});

it('begins in the theme of the system', async () => {
  const [light, dark] = [await open('tutorial'), await open('tutorial', 'dark')];
  expect(await background(dark.page)).not.toBe(await background(light.page));
  expect([...light.problems, ...dark.problems]).toEqual([]);
  await Promise.all([light.close(), dark.close()]);
});
