import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { request as httpRequest } from 'node:http';
import { jest } from '@jest/globals';
import { ForbiddenException, VERSION_NEUTRAL, VersioningType } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { map, of } from 'rxjs';
import { FrameForgeConsoleModule } from '../../src/console/index.js';
import { baseOf } from '../../src/console/console.files.js';
import { isSameOrigin } from '../../src/console/same.origin.js';
import { SharedReads } from '../../src/console/shared.reads.js';
import { User } from '../../src/schema/entities/index.js';
import { HOUR_MS, makers } from '../jobs/fixtures.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { until } from '../support/until.js';
import { AdminGuard, ADAPTERS, bootConsole } from './console.app.js';
import type { AppOptions } from './console.app.js';
import { ASSETS, buildPages } from './console.build.js';

let h: Harness;
const closing: (() => Promise<void>)[] = [];
beforeAll(async () => {
  buildPages();
  h = await openHarness();
});
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});
afterAll(() => h.close());

it('has at most 100 KB of files, compressed', () => {
  const sizes = ['console.js', 'console.css'].map(
    (name) => gzipSync(readFileSync(join(ASSETS, name))).length,
  );
  expect(sizes.reduce((a, b) => a + b)).toBeLessThan(100 * 1024);
});

/** Returns the error that these options cause. */
const message = (options: object): string => {
  try {
    FrameForgeConsoleModule.forRoot(options);
    return '';
  } catch (error) {
    expect(error).toMatchObject({ code: 'CONFIGURATION_INVALID' });
    return (error as Error).message;
  }
};

describe('forRoot', () => {
  const { NODE_ENV } = process.env;
  afterEach(() => {
    process.env['NODE_ENV'] = NODE_ENV;
  });

  it('refuses to start without guards', () => {
    expect(message({})).toContain('it needs `guards`');
    expect(message({ guards: [] })).toContain('`guards` must be an array of guards');
    expect(message({ guards: ['AdminGuard'] })).toContain('`guards` must be an array of guards');
    expect(message({ guards: undefined })).toContain('it needs `guards`');
  });

  it('starts without guards if an option says so, but never in production', () => {
    expect(message({ unguarded: true })).toBe('');
    expect(message({ unguarded: true, guards: [AdminGuard] })).toContain('contradict');
    process.env['NODE_ENV'] = 'production';
    expect(message({ unguarded: true })).toContain('`unguarded` is refused');
    expect(message({ guards: [AdminGuard] })).toBe('');
  });

  it('names what is wrong', () => {
    expect(message({ guards: [AdminGuard], path: 'a b', acts: 1 })).toMatch(
      /`path` must be.*`acts`/s,
    );
  });
});

/** Boots, and closes at the end of the test. */
async function boot(...args: Parameters<typeof bootConsole>) {
  const booted = await bootConsole(...args);
  closing.push(() => booted.app.close());
  return booted;
}

const post = (url: string, ids: unknown, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ ids }),
  });

/** The facts that a wrong clock does not change. */
const ALL_BUT_DATE = [
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
  'setTimeout',
  'clearTimeout',
] as const;
const SAME = { 'sec-fetch-site': 'same-origin' };

const byPath = (app: INestApplication) =>
  void app.enableVersioning({ type: VersioningType.URI, defaultVersion: '1' });
const byHeader = (app: INestApplication) =>
  void app.enableVersioning({
    type: VersioningType.HEADER,
    header: 'x-version',
    defaultVersion: '1',
  });
const statusOf = async (url: string, headers = {}) => (await fetch(url, { headers })).status;

/** Every address that the console has. */
const ADDRESSES = [
  'frameforge',
  'frameforge/overview',
  'frameforge/jobs',
  'frameforge/jobs/00000000-0000-4000-8000-000000000000',
  'frameforge/notifications',
  'frameforge/assets/console.js',
  'frameforge/assets/console.css',
  'frameforge/assets/icon.svg',
  'frameforge/api/settings',
  'frameforge/api/overview',
  'frameforge/api/schema',
  'frameforge/api/jobs',
  'frameforge/api/notifications',
  'frameforge/api/live/overview',
  'frameforge/api/live/jobs',
  'frameforge/api/live/jobs/00000000-0000-4000-8000-000000000000',
  'frameforge/api/live/notifications',
];

it('shows its first page also with a slash at the end of the address, where the application ignores that slash', async () => {
  const { url } = await boot(h.url, 'express');
  const page = await (await fetch(`${url}/frameforge/`)).text();
  expect(page).toContain('<base href="./">');
});

describe.each(ADAPTERS)('on %s', (adapter) => {
  it('answers at each address, below a prefix too', async () => {
    for (const options of [{}, { prefix: 'admin/v1' }] as AppOptions[]) {
      const { url } = await boot(h.url, adapter, options);
      const root = options.prefix === undefined ? url : `${url}/${options.prefix}`;
      for (const address of ADDRESSES) {
        const response = await fetch(`${root}/${address}`);
        expect({ address, status: response.status }).toEqual({ address, status: 200 });
        expect(response.headers.get('x-content-type-options')).toBe('nosniff');
        await response.body?.cancel();
      }
      for (const address of ['frameforge/nowhere', 'frameforge/assets/..%2fpackage.json']) {
        expect((await fetch(`${root}/${address}`)).status).toBe(404);
      }
    }
  });

  it('answers 401 to whom a guard refuses, and shows nothing', async () => {
    const job = await makers(h).failed();
    const { url, doorman } = await boot(h.url, adapter);
    doorman.isOpen = false;
    for (const address of [...ADDRESSES, `frameforge/api/jobs/${job.jobId}`]) {
      const response = await fetch(`${url}/${address}`);
      expect({ address, status: response.status }).toEqual({ address, status: 401 });
      expect(await response.json()).toEqual({ message: 'Unauthorized', statusCode: 401 });
    }
    expect((await post(`${url}/frameforge/api/actions/retry`, [job.jobId], SAME)).status).toBe(401);
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'failed' });
  });

  it('has no way around its guards', async () => {
    const { jobId } = await makers(h).failed();
    const { url, doorman } = await boot(h.url, adapter, { prefix: 'v1' });
    doorman.isOpen = false;
    const odd = [
      'frameforge/',
      '/frameforge//jobs',
      'frameforge/./jobs',
      'frameforge/x/../api/jobs',
      'FRAMEFORGE/API/JOBS',
      'frameforge/%61pi/jobs',
      'frameforge/api%2Fjobs',
      'frameforge/api/jobs/',
      `frameforge/api/jobs/${jobId}/`,
      'frameforge/api/jobs;a=b',
      'frameforge/api/jobs?x=%00',
      'frameforge/assets/../api/jobs',
      'frameforge/assets/%2e%2e%2fapi/jobs',
      'frameforge/assets/..%5c..%5cpackage.json',
      'frameforge/assets/__proto__',
    ];
    const { hostname, port } = new URL(url);
    const ask = (method: string, path: string) =>
      new Promise<{ status: number; text: string }>((resolve, reject) => {
        // This does not use fetch, because fetch normalizes addresses.
        httpRequest({ hostname, port, method, path }, (answer) => {
          let text = '';
          answer.setEncoding('utf8').on('data', (part: string) => (text += part));
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
        })
          .on('error', reject)
          .end();
      });
    for (const address of [...ADDRESSES, ...odd]) {
      for (const method of ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'DELETE']) {
        const { status, text } = await ask(method, `/v1/${address}`);
        const what = { address, method, status };
        expect({ ...what, refused: [400, 401, 404, 405].includes(status) }).toEqual({
          ...what,
          refused: true,
        });
        expect(text).not.toMatch(/<base|jobId|"found"|<svg|querySelector/);
      }
    }
    doorman.isOpen = true;
    // An unknown path is answered with 404. No file of the application is served.
    for (const address of odd.filter((path) => path.startsWith('frameforge/assets'))) {
      const { text } = await ask('GET', `/v1/${address}`);
      expect(text).not.toMatch(/shared-types|function/);
    }
  });

  it.each([
    ['rejects', () => Promise.reject(new ForbiddenException()), 403],
    ['says no later', () => Promise.resolve(false), 403],
    ['says no in a stream', () => of(false), 403],
    ['fails', () => Promise.reject(new Error('secret: no user')), 500],
  ])('refuses everybody while a guard %s', async (_, canActivate, status) => {
    const { url } = await boot(h.url, adapter, {
      console: { guards: [{ canActivate }], actor: () => 'nobody' },
    });
    for (const address of ADDRESSES) {
      const response = await fetch(`${url}/${address}`);
      expect({ address, status: response.status }).toEqual({ address, status });
      expect(await response.text()).not.toMatch(/secret|<base|found/);
    }
  });

  it('has the version that the application gives to all controllers, or a version of its own', async () => {
    const one = await boot(h.url, adapter, { prepare: byPath });
    expect(await statusOf(`${one.url}/v1/frameforge/api/settings`)).toBe(200);
    expect(await statusOf(`${one.url}/frameforge/api/settings`)).toBe(404);
    const two = await boot(h.url, adapter, { prepare: byHeader });
    expect(await statusOf(`${two.url}/frameforge/jobs`)).toBe(404);
    expect(await statusOf(`${two.url}/frameforge/jobs`, { 'x-version': '1' })).toBe(200);
    const neutral = { version: VERSION_NEUTRAL } as const;
    for (const prepare of [byHeader, byPath]) {
      const three = await boot(h.url, adapter, { prepare, console: neutral });
      expect(await statusOf(`${three.url}/frameforge/jobs`)).toBe(200);
    }
  });

  it('answers requests from other origins as the application allows, and carries out no action for them', async () => {
    const job = await makers(h).failed();
    const [allowed, origin] = ['access-control-allow-origin', 'https://ops.example'];
    const without = await boot(h.url, adapter);
    const given = await fetch(`${without.url}/frameforge/api/jobs`, { headers: { origin } });
    expect([given.status, given.headers.get(allowed)]).toEqual([200, null]);
    const { url, doorman } = await boot(h.url, adapter, {
      prepare: (app) => app.enableCors({ origin, credentials: true }),
    });
    const action = `${url}/frameforge/api/actions/retry`;
    const preflight = await fetch(action, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    });
    expect([preflight.status, preflight.headers.get(allowed)]).toEqual([204, origin]);
    expect((await post(action, [job.jobId], { origin })).status).toBe(403);
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'failed' });
    for (const status of [200, 401]) {
      doorman.isOpen = status === 200;
      for (const address of ADDRESSES) {
        const response = await fetch(`${url}/${address}`, { headers: { origin } });
        const { headers } = response;
        const credentials = headers.get('access-control-allow-credentials');
        expect({
          address,
          status: response.status,
          origin: headers.get(allowed),
          credentials,
        }).toEqual({ address, status, origin, credentials: 'true' });
        await response.body?.cancel();
      }
    }
  });

  it('has a page with a strict policy, whose links are relative', async () => {
    const { url } = await boot(h.url, adapter);
    const response = await fetch(`${url}/frameforge/jobs`);
    expect(response.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self';/,
    );
    const html = await response.text();
    expect(html).not.toMatch(/<script(?! type="module" src="assets\/)|style=|https?:/);
    const bases = await Promise.all(
      ['', '/overview', '/jobs', '/jobs/1', '/jobs?status=failed'].map(async (path) => {
        const page = await (await fetch(`${url}/frameforge${path}`)).text();
        return /<base href="([^"]*)">/.exec(page)?.[1];
      }),
    );
    expect(bases).toEqual(['frameforge/', './', './', './../', './']);
  });

  it('sends its own answers, also where interceptors of the application change answers', async () => {
    const seen: unknown[] = [];
    const { url } = await boot(h.url, adapter, {
      prepare: (app) => {
        app.useGlobalInterceptors({
          intercept: (_context, next) => {
            seen.push(1);
            return next.handle().pipe(map((data: unknown) => ({ data })));
          },
        });
      },
    });
    const response = await fetch(`${url}/frameforge/api/settings`);
    expect(await response.json()).toMatchObject({
      data: { actions: expect.arrayContaining(['retry']) },
    });
    expect(seen).toHaveLength(1);
  });

  it('finds jobs by what the address says, and refuses what has no meaning', async () => {
    const { pending, failed } = makers(h);
    const user = await h.user({ username: `ann-${adapter}` });
    const job = await pending(user.userId);
    await failed();
    const { url } = await boot(h.url, adapter);
    const get = async (query: string) => {
      const response = await fetch(`${url}/frameforge/api/jobs?${query}`);
      return { status: response.status, body: (await response.json()) as never };
    };
    for (const query of [
      `user=ann-${adapter}`,
      `user=${user.userId}&status=pending&text=`,
      `user=${encodeURIComponent(user.email)}&from=2020-01-01T00:00:00Z`,
      `user=ann-${adapter}&order=waiting`,
    ]) {
      const { body } = await get(query);
      expect(body).toMatchObject({ data: { found: [{ jobId: job.jobId }], nextCursor: null } });
    }
    expect(await get('user=nobody')).toMatchObject({
      status: 200,
      body: { data: { found: [], user: null } },
    });
    for (const query of [
      'status=x',
      'status=failed&status=pending',
      'from=never',
      'cursor=x',
      'user=%00',
    ]) {
      expect(await get(query)).toMatchObject({ status: 400, body: { code: 'INVALID_INPUT' } });
    }
    const text = JSON.stringify(await get(''));
    expect(text).not.toMatch(/passwordHash|secret|postgres:/);
  });

  it('carries out actions with the services, and logs who asked for them', async () => {
    const { failed, pending, completed } = makers(h);
    const jobs = [await failed(), await pending(), await completed()];
    const lines: string[] = [];
    const log = (text: unknown, context?: unknown): void => {
      if (context === 'FrameForgeConsole') lines.push(String(text));
    };
    const logger = { log, warn: log, error: log };
    const { url } = await boot(h.url, adapter, { logger });
    const [one, two, three] = jobs.map(({ jobId }) => jobId);
    const retried = await post(`${url}/frameforge/api/actions/retry`, [one, three], SAME);
    expect(retried.status).toBe(200);
    expect(await retried.json()).toEqual({
      results: [
        { id: one, refusal: null },
        { id: three, refusal: expect.stringContaining('completed') },
      ],
    });
    expect((await post(`${url}/frameforge/api/actions/cancel`, [two], SAME)).status).toBe(200);
    expect(await h.jobs.getJob(one!)).toMatchObject({ status: 'pending', attempts: 0 });
    expect(await h.jobs.getJob(two!)).toMatchObject({ status: 'failed' });
    expect((await h.jobs.getJob(two!)).cancelledAt).not.toBeNull();
    expect(lines).toHaveLength(3);
    expect(lines[0]).toBe(`"ann\\n\\"the admin\\"" retried job ${one}`);
    expect(lines[1]).toContain(`was refused: retried job ${three}`);
    for (const ids of [undefined, [], 'x', [1], Array.from({ length: 101 }, () => one)]) {
      expect((await post(`${url}/frameforge/api/actions/retry`, ids, SAME)).status).toBe(400);
    }
    expect((await post(`${url}/frameforge/api/actions/drop`, [one], SAME)).status).toBe(404);
  });

  it('carries out an action on all that matched when the list was shown, and counts them first', async () => {
    const { failed, completed, leased } = makers(h);
    const job = await failed();
    await completed();
    const running = await leased();
    const at = Date.now() + 1;
    while (Date.now() <= at) await new Promise((resolve) => setTimeout(resolve, 5));
    const later = await failed();
    await h.jobs.failJob(running, { errorMessage: 'no video stream' });
    const { url } = await boot(h.url, adapter);
    const { email } = await h.dataSource
      .getRepository(User)
      .findOneByOrFail({ userId: job.userId });
    const send = async (action: string, matching: object | null, dryRun?: boolean) => {
      const response = await fetch(`${url}/frameforge/api/actions/${action}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...SAME },
        body: JSON.stringify({ matching, dryRun }),
      });
      return { status: response.status, body: await response.json() };
    };
    const mine = { user: email, status: 'failed', at };
    expect(await send('retry', mine)).toEqual({ status: 200, body: { matched: 1, changed: 0 } });
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'failed' });
    expect((await send('retry', mine, false)).body).toEqual({ matched: 1, changed: 1 });
    expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'pending' });
    await send('retry', { status: 'failed', at }, false);
    expect(await h.jobs.getJob(later.jobId)).toMatchObject({ status: 'failed' });
    // This job existed when the list was shown, but had not failed yet, so it was not on the list.
    expect(await h.jobs.getJob(running.jobId)).toMatchObject({ status: 'failed' });
    const many = await Promise.all([failed(), failed(), failed()]);
    const now = { status: 'failed', at: many.at(-1)!.completedAt!.getTime() + 60_000, limit: 2 };
    expect((await send('retry', now, false)).body).toEqual({ matched: 2, changed: 2 });
    const cancelled = await send('cancel', { user: email, status: 'pending', at }, false);
    expect(cancelled.body).toEqual({ matched: 1, changed: 1 });
    expect((await send('redeliver', { at }, false)).body).toMatchObject({ changed: 0 });
    for (const wrong of [
      {},
      { at: 'now' },
      { at, user: 'nobody' },
      { at, text: 'x' },
      { at, status: 'pending' },
      null,
    ]) {
      expect((await send('retry', wrong, false)).status).toBe(400);
    }
  });

  it.each([
    ['behind', -HOUR_MS],
    ['ahead of', HOUR_MS],
  ])(
    'uses the time of the database when a list was shown, also if its own clock is %s it',
    async (_, aheadMs) => {
      const { userId, email } = await h.user();
      const fail = async () => {
        const run = await makers(h).leased('worker-1', userId);
        return (await h.jobs.failJob(run, { errorMessage: 'no video stream' })).job;
      };
      const job = await fail();
      const { url } = await boot(h.url, adapter);
      const query = `user=${encodeURIComponent(email)}&status=failed`;
      jest.useFakeTimers({ now: Date.now() + aheadMs, doNotFake: [...ALL_BUT_DATE] });
      try {
        const shown = await fetch(`${url}/frameforge/api/jobs?${query}`);
        const { at } = (await shown.json()) as { at: string };
        const later = await fail();
        const answer = await fetch(`${url}/frameforge/api/actions/retry`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...SAME },
          body: JSON.stringify({
            matching: { user: email, status: 'failed', at: Date.parse(at) },
            dryRun: false,
          }),
        });
        expect(await answer.json()).toEqual({ matched: 1, changed: 1 });
        expect(await h.jobs.getJob(job.jobId)).toMatchObject({ status: 'pending' });
        expect(await h.jobs.getJob(later.jobId)).toMatchObject({ status: 'failed' });
      } finally {
        jest.useRealTimers();
      }
    },
  );

  it('carries out no action for another origin', async () => {
    const { jobId } = await makers(h).failed();
    const { url } = await boot(h.url, adapter);
    const action = `${url}/frameforge/api/actions/retry`;
    for (const headers of [
      {},
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site', origin: url },
      { origin: 'http://evil.example' },
    ] as Record<string, string>[]) {
      expect((await post(action, [jobId], headers)).status).toBe(403);
    }
    expect(await h.jobs.getJob(jobId)).toMatchObject({ status: 'failed' });
  });

  it.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE'])('has no action by %s', async (method) => {
    const { jobId } = await makers(h).failed();
    const { url } = await boot(h.url, adapter);
    const action = `${url}/frameforge/api/actions/retry?jobIds=${jobId}`;
    expect((await fetch(action, { method, headers: SAME })).status).toBe(404);
    expect(await h.jobs.getJob(jobId)).toMatchObject({ status: 'failed' });
  });

  it('carries out actions only if the option for actions is on', async () => {
    const { jobId } = await makers(h).failed();
    const { url } = await boot(h.url, adapter, { console: { actions: false } });
    const settings = await fetch(`${url}/frameforge/api/settings`);
    expect(await settings.json()).toMatchObject({ data: { actions: [] } });
    expect((await post(`${url}/frameforge/api/actions/retry`, [jobId], SAME)).status).toBe(403);
    expect(await h.jobs.getJob(jobId)).toMatchObject({ status: 'failed' });
  });
});

it('computes the relative path from each page to the root of the console', () => {
  const bases = [
    ['/frameforge', 0],
    ['/frameforge/?a=/', 0],
    ['/jobs', 1],
    ['/jobs/', 1],
    ['/jobs/1', 2],
  ] as const;
  expect(bases.map(([url, depth]) => baseOf(url, depth, 'frameforge'))).toEqual([
    'frameforge/',
    './',
    './',
    './../',
    './../',
  ]);
});

it('trusts the headers of the browser about the origin, or compares the name of the host', () => {
  const host = 'jobs.example';
  expect(isSameOrigin({ 'sec-fetch-site': 'same-origin', origin: 'http://x' })).toBe(true);
  expect(isSameOrigin({ 'sec-fetch-site': 'none', host, origin: `http://${host}` })).toBe(false);
  expect(isSameOrigin({ host, origin: `http://${host}` })).toBe(true);
  const behind = { host: 'inner:3000', 'x-forwarded-host': `${host}, other` };
  expect(isSameOrigin({ ...behind, origin: `https://${host}` })).toBe(true);
  expect(isSameOrigin({ host, origin: 'null' })).toBe(false);
  expect(isSameOrigin({ host })).toBe(false);
});

it('reads once for all requests that ask for the same at the same time', async () => {
  const reads = new SharedReads(10_000);
  let count = 0;
  const read = async () => {
    count += 1;
    return count;
  };
  const get = (key: string): Promise<number> => reads.get(key, read);
  expect(await Promise.all([get('a'), get('a')])).toEqual([1, 1]);
  expect([await get('a'), await get('b')]).toEqual([1, 2]);
  reads.clear();
  expect(await get('a')).toBe(3);
  const away = Promise.reject(new Error('away'));
  await expect(reads.get('c', () => away)).rejects.toThrow('away');
  // A failed read is cached for less time than a successful one.
  await until(async () => (await get('c').catch(() => 0)) === 4);
});
