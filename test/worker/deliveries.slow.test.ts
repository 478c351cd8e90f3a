import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DeliveryStatus } from '../../src/schema/entities/index.js';
import { backoffMs } from '../../src/worker/backoff.js';
import { resolveWorkerOptions } from '../../src/worker/worker.options.js';
import { until } from '../support/until.js';
import { World } from './world.js';

/** A provider that accepts messages, refuses them, or does not answer. */
class Provider {
  state: 'up' | 'down' | 'silent' = 'up';
  readonly keys: string[] = [];
  readonly #server: Server = createServer((request, response) => {
    this.keys.push(String(request.headers['idempotency-key']));
    if (this.state !== 'silent') response.writeHead(this.state === 'up' ? 202 : 503).end();
  });

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

let world: World;
let provider: Provider;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());
beforeEach(async () => {
  provider = new Provider();
  await provider.listen();
});
afterEach(async () => {
  await world.clear();
  provider.close();
});

const only = async (job: { jobId: string }) => (await world.notifications(job))[0]!;

describe('a delivery', () => {
  it('that the provider refuses is tried again much later, and succeeds when it is back', async () => {
    await world.worker({ provider: provider.url });
    provider.state = 'down';
    const [job] = await world.create('sleep:0');
    await until(async () => (await only(await world.final(job!)))?.retryCount === 1);
    const refused = await only(job!);
    expect(refused).toMatchObject({
      deliveryStatus: DeliveryStatus.PENDING,
      errorMessage: 'The provider answers 503.',
      sentAt: null,
    });
    expect(refused.availableAt.getTime() - refused.createdAt.getTime()).toBeGreaterThan(7_000);

    provider.state = 'up';
    await world.harness.dataSource.query(`UPDATE notification_log SET "availableAt" = now()`);
    await until(async () => (await only(job!)).deliveryStatus === DeliveryStatus.SENT);
    expect(await only(job!)).toMatchObject({
      retryCount: 1,
      errorMessage: null,
      sentAt: expect.any(Date),
    });
    // The provider gets the same message in each try.
    expect(provider.keys).toEqual([refused.notificationId, refused.notificationId]);
  });

  it('that has no try left is failed, with the reason', async () => {
    provider.state = 'down';
    const deliveryBackoff = { baseMs: 10, maxMs: 20 };
    const options = { pollMs: 20, deliveryBackoff, maxDeliveryAttempts: 3 };
    await world.worker({ provider: provider.url, worker: options });
    const [job] = await world.create('sleep:0');
    await until(async () => (await only(await world.final(job!))).deliveryStatus === 'failed');
    expect(await only(job!)).toMatchObject({
      deliveryNumber: 3,
      retryCount: 2,
      errorMessage: 'The provider answers 503.',
      sentAt: null,
    });
    expect(provider.keys).toHaveLength(3);
  });

  it('that gets no answer is aborted at the end of its lease', async () => {
    provider.state = 'silent';
    const options = { deliveryLeaseMs: 1_000, deliveryBackoff: { baseMs: 1, maxMs: 1 } };
    // The worker has one place, which is free again only if the first delivery ends.
    await world.worker({ provider: provider.url, worker: options, deliverers: 1 });
    const [job] = await world.create('sleep:0');
    await until(() => provider.keys.length === 1);
    provider.state = 'up';
    await until(async () => (await only(job!)).deliveryStatus === DeliveryStatus.SENT);
    const { deliveryNumber, notificationId } = await only(job!);
    expect(deliveryNumber).toBe(2);
    expect(provider.keys).toEqual([notificationId, notificationId]);
  });

  it('that is running at shutdown is aborted, and another worker can claim it at once', async () => {
    provider.state = 'silent';
    const worker = await world.worker({ provider: provider.url, worker: { shutdownMs: 100 } });
    const [job] = await world.create('sleep:0');
    await until(() => provider.keys.length === 1);
    worker.kill('SIGTERM');
    expect(await worker.exit).toEqual({ code: null, signal: 'SIGTERM' });
    expect(await only(job!)).toMatchObject({
      deliveryStatus: DeliveryStatus.PENDING,
      retryCount: 1,
      errorMessage: 'The process shuts down.',
    });
    expect(await world.harness.notifications.claimNotifications()).toHaveLength(1);
  });
});

it('a provider that is down for two days does not use up the tries', () => {
  const { maxDeliveryAttempts, deliveryBackoff } = resolveWorkerOptions();
  const waits = Array.from({ length: maxDeliveryAttempts - 1 }, (_, i) =>
    Math.min(...Array.from({ length: 1_000 }, () => backoffMs(i + 1, deliveryBackoff))),
  );
  // These are the shortest waits that the jitter allows.
  const least = Array.from({ length: maxDeliveryAttempts - 1 }, (_, i) =>
    Math.min(deliveryBackoff.baseMs * 2 ** i, deliveryBackoff.maxMs),
  ).reduce((sum, ms) => sum + ms / 2, 0);
  expect(least).toBeGreaterThanOrEqual(48 * 3_600_000);
  expect(waits.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThanOrEqual(least);
  expect(waits[0]).toBeGreaterThan(5_000);
});
