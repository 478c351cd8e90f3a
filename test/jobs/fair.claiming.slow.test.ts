import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { fairFixtures } from './fair.fixtures.js';
import { HOUR_MS, openPeer } from './fixtures.js';

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
});
afterEach(() => h.close());

/** Users with unlike backlogs: the first forty have work throughout. */
async function unlikeBacklogs(): Promise<string[]> {
  const { newUsers, backlog } = fairFixtures(h);
  const users = await newUsers(50);
  for (const [n, userId] of users.entries()) await backlog(userId, n < 40 ? 120 + n : n);
  return users;
}

it('over a thousand claims, users who always have work get the same', async () => {
  const users = await unlikeBacklogs();
  const counts = new Map<string, number>();
  for (let claims = 0; claims < 1_000; claims += 1) {
    const limit = 1 + (claims % 7);
    for (const { userId } of await h.jobs.claimJobs({ limit, order: 'fair', leaseMs: HOUR_MS })) {
      counts.set(userId, (counts.get(userId) ?? 0) + 1);
    }
    const busy = users.slice(0, 40).map((userId) => counts.get(userId) ?? 0);
    expect(Math.max(...busy) - Math.min(...busy)).toBeLessThanOrEqual(2);
  }
});

it('eight workers that claim at the same time give everybody about as many', async () => {
  const users = await unlikeBacklogs();
  const peers = await Promise.all(Array.from({ length: 8 }, () => openPeer(h.url)));
  try {
    await Promise.all(
      peers.map(async ({ jobs }, n) => {
        for (let claims = 0; claims < 125; claims += 1) {
          await jobs.claimJobs({
            limit: 1 + ((claims + n) % 7),
            order: 'fair',
            leaseMs: HOUR_MS,
          });
        }
      }),
    );
  } finally {
    await Promise.all(peers.map((peer) => peer.close()));
  }
  const rows: { userId: string; claimed: number }[] = await h.dataSource.query(
    `SELECT "userId", count(*)::integer AS claimed FROM video_jobs WHERE status = 'processing'
     GROUP BY "userId"`,
  );
  const counts = new Map(rows.map(({ userId, claimed }) => [userId, claimed]));
  const busy = users.slice(0, 40).map((userId) => counts.get(userId) ?? 0);
  expect(Math.max(...busy)).toBeLessThan(120);
  // Each goes round by itself, where a user is one ahead of another at the most. Measured: 3.
  expect(Math.max(...busy) - Math.min(...busy)).toBeLessThanOrEqual(8);
});
