import { Agent, get as httpGet } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { map } from 'rxjs';
import { LiveReads, STREAM_MS } from '../../src/console/live.reads.js';
import type { Look } from '../../src/console/live.reads.js';
import { makers } from '../jobs/fixtures.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { Proxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import { ADAPTERS, bootConsole } from './console.app.js';
import { buildPages } from './console.build.js';

/** The events of a stream. */
interface Event {
  readonly type: string;
  readonly data: {
    readonly at: string;
    readonly data?: { readonly found: readonly { readonly filename: string }[] };
    readonly failed?: { readonly statusCode: number; readonly message: string };
  };
}

let h: Harness;
const closing: (() => unknown)[] = [];
beforeAll(async () => {
  buildPages();
  h = await openHarness();
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});
afterAll(() => h.close());

async function boot(...args: Parameters<typeof bootConsole>) {
  const booted = await bootConsole(...args);
  closing.push(() => booted.app.close());
  return booted;
}

/** Keeps connections open for a long time, as browsers do. */
const agent = new Agent({ keepAlive: true });
afterAll(() => agent.destroy());

/** Opens a stream, and collects its events. */
async function listen(url: string) {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpGet(url, { agent }, resolve).on('error', reject);
  });
  closing.push(() => response.destroy());
  const events: Event[] = [];
  const state = { isOver: false };
  let text = '';
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    text += chunk;
    const parts = text.split('\n\n');
    text = parts.pop() ?? '';
    for (const part of parts) {
      const type = /^event: (.*)$/m.exec(part)?.[1];
      const data = /^data: (.*)$/m.exec(part)?.[1];
      if (type !== undefined && data !== undefined) events.push({ type, data: JSON.parse(data) });
    }
  });
  response.on('close', () => (state.isOver = true));
  return { response, events, state };
}

const namesOf = (event: Event | undefined) => event?.data.data?.found.map((job) => job.filename);

describe.each(ADAPTERS)('on %s', (adapter) => {
  it('sends the present state, then whether it has changed; its headers forbid proxies to change or to keep it', async () => {
    const { userId, username } = await h.user();
    const create = (filename: string) =>
      h.jobs.createJob({ userId, filename, videoUrl: 's3://videos/1' });
    await create('one.mp4');
    const { url } = await boot(h.url, adapter, { prefix: 'api' });
    const { response, events } = await listen(
      `${url}/api/frameforge/api/live/jobs?user=${username}`,
    );
    expect(response.statusCode).toBe(200);
    expect(response.headers).toMatchObject({
      'content-type': expect.stringContaining('text/event-stream'),
      'cache-control': expect.stringMatching(/no-store.*no-transform/),
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
    });
    await until(async () => events.length > 0);
    expect(events[0]?.type).toBe('data');
    expect(namesOf(events[0])).toEqual(['one.mp4']);
    await until(async () => events.length > 1);
    expect(events[1]).toEqual({ type: 'same', data: { at: expect.any(String) } });
    expect(Date.parse(events[1]!.data.at)).toBeGreaterThan(Date.parse(events[0]!.data.at));
    await create('two.mp4');
    // The next event may follow at once. It has no names, because nothing has changed.
    const changed = () => events.slice(1).find(({ type }) => type === 'data');
    await until(async () => changed() !== undefined);
    expect(namesOf(changed())).toEqual(['two.mp4', 'one.mp4']);
  });

  it('sends a change that an action of the console makes at once', async () => {
    const job = await makers(h).failed();
    const { url } = await boot(h.url, adapter);
    const { events } = await listen(`${url}/frameforge/api/live/jobs/${job.jobId}`);
    await until(async () => events.length > 0);
    await fetch(`${url}/frameforge/api/actions/retry`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'sec-fetch-site': 'same-origin' },
      body: JSON.stringify({ ids: [job.jobId] }),
    });
    await until(async () => JSON.stringify(events).includes('"status":"pending"'));
  });

  it('sends a refusal, and no internal error of the application', async () => {
    const { url } = await boot(h.url, adapter);
    const wrong = await listen(`${url}/frameforge/api/live/jobs?status=x`);
    await until(async () => wrong.events.length > 0);
    expect(wrong.events[0]).toMatchObject({
      type: 'failed',
      data: { failed: { statusCode: 400 } },
    });
    const lost = await openHarness();
    const other = await boot(lost.url, adapter);
    await lost.close();
    const away = await listen(`${other.url}/frameforge/api/live/overview`);
    await until(async () => away.events.length > 0);
    const { failed } = away.events[0]!.data;
    expect(failed?.statusCode).toBeGreaterThanOrEqual(500);
    expect(failed?.message).toBe('See the log of the application.');
  });

  it('opens a stream only if the guards allow it', async () => {
    const { url, doorman } = await boot(h.url, adapter);
    doorman.isOpen = false;
    for (const path of ['overview', 'jobs', 'jobs/1', 'notifications']) {
      const response = await fetch(`${url}/frameforge/api/live/${path}`);
      expect(response.status).toBe(401);
      expect(await response.json()).toEqual({ message: 'Unauthorized', statusCode: 401 });
    }
  });

  it('ends all streams when the application closes, and the close waits for none of them', async () => {
    const { app, url } = await boot(h.url, adapter, { waits: true });
    // The application also does not wait for the connections that the streams leave open.
    (app.getHttpServer() as Server).keepAliveTimeout = 600_000;
    const streams = await Promise.all(
      ['overview', 'jobs', 'jobs'].map((path) => listen(`${url}/frameforge/api/live/${path}`)),
    );
    await until(async () => streams.every(({ events }) => events.length > 0));
    await app.close();
    await until(async () => streams.every(({ state }) => state.isOver));
  });

  it('reads once for all viewers of one list, and stops when they have left', async () => {
    const proxy = await Proxy.start(h.url);
    closing.push(() => proxy.stop());
    const { jobId } = await makers(h).failed();
    const { url } = await boot(proxy.url, adapter);
    const streams = await Promise.all(
      Array.from({ length: 10 }, () => listen(`${url}/frameforge/api/live/jobs/${jobId}`)),
    );
    await until(async () => streams.every(({ events }) => events.length > 1));
    proxy.reset();
    const count = streams[0]!.events.length;
    await until(async () => streams.every(({ events }) => events.length >= count + 2));
    const perLook = proxy.traffic.roundTrips / 2;
    for (const { response } of streams) response.destroy();
    // A read that had begun may still end. Then nothing is read any more.
    await until(async () => {
      proxy.reset();
      await sleep(3_000);
      return proxy.traffic.roundTrips === 0;
    });
    // One read sends a few statements. Ten reads would send ten times as many.
    expect(perLook).toBeLessThan(10);
  });

  it('has no effect where an interceptor changes its events', async () => {
    const { url } = await boot(h.url, adapter, {
      prepare: (app) => {
        app.useGlobalInterceptors({
          intercept: (_context, next) => next.handle().pipe(map((data: unknown) => ({ data }))),
        });
      },
    });
    const { events, response } = await listen(`${url}/frameforge/api/live/overview`);
    expect(response.statusCode).toBe(200);
    await sleep(500);
    // The page then polls, because it receives no event of a kind that it knows.
    expect(events).toEqual([]);
  });
});

const look = (): Promise<Look> =>
  Promise.resolve({ type: 'data', at: new Date(0), text: '{"a":1}' });

describe('a stream', () => {
  it('reads again and again while somebody listens, and ends after some time', () => {
    jest.useFakeTimers();
    try {
      const live = new LiveReads();
      let isOver = false;
      live.watch('a', 1_000, look).subscribe({ complete: () => (isOver = true) });
      const other = live.watch('a', 1_000, look).subscribe();
      live.watch('b', 1_000, look).subscribe().unsubscribe();
      expect(live.size).toBe(1);
      other.unsubscribe();
      expect(live.size).toBe(1);
      jest.advanceTimersByTime(STREAM_MS);
      expect({ isOver, size: live.size }).toEqual({ isOver: true, size: 0 });
    } finally {
      jest.useRealTimers();
    }
  });

  it('sends what was read after a change, and nothing of a read that began before it', async () => {
    const live = new LiveReads();
    const reads: ((look: Look) => void)[] = [];
    const texts: unknown[] = [];
    const slow = (): Promise<Look> => new Promise((resolve) => void reads.push(resolve));
    const stream = live.watch('a', 60_000, slow).subscribe(({ data }) => texts.push(data));
    await until(() => reads.length === 1);
    live.changed();
    await until(() => reads.length === 2);
    reads[1]!({ type: 'data', at: new Date(1), text: '"new"' });
    reads[0]!({ type: 'data', at: new Date(0), text: '"old"' });
    await until(() => texts.length > 0);
    expect(texts).toEqual(['{"at":"1970-01-01T00:00:00.001Z","data":"new"}']);
    stream.unsubscribe();
    expect(live.size).toBe(0);
  });

  it('does not begin after the application has ended', () => {
    const live = new LiveReads();
    live.close();
    let isOver = false;
    live.watch('a', 1_000, look).subscribe({ complete: () => (isOver = true) });
    expect({ isOver, size: live.size }).toEqual({ isOver: true, size: 0 });
  });
});
