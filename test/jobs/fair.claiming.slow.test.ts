import { Client } from 'pg';
import { claimInTurn, claimOfNextUser } from '../../src/jobs/fair.claiming.sql.js';
import { tablesOf } from '../../src/schema/tables.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { onServer } from '../support/server.js';
import { fairFixtures } from './fair.fixtures.js';
import { HOUR_MS, openPeer, video } from './fixtures.js';
import { explain, mostRowsOfANode } from './plan.js';

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
});
afterEach(() => h.close());

/** Users with different backlogs. The first forty have due jobs during the whole test. */
async function unlikeBacklogs(): Promise<string[]> {
  const { newUsers, backlog } = fairFixtures(h);
  const users = await newUsers(50);
  for (const [n, userId] of users.entries()) await backlog(userId, n < 40 ? 120 + n : n);
  return users;
}

it('behind 100,000 jobs of one user, a job of another is in the next claim of each of eight workers', async () => {
  const { newUsers, backlog } = fairFixtures(h);
  const [busy, single] = await newUsers(2);
  await backlog(busy!, 100_000);
  const peers = await Promise.all(Array.from({ length: 8 }, () => openPeer(h.url)));
  const claim = { limit: 2, order: 'fair', leaseMs: HOUR_MS } as const;
  try {
    await Promise.all(peers.map(({ jobs }) => jobs.claimJobs(claim)));
    for (const { jobs } of peers) {
      const { jobId } = await h.jobs.createJob({ ...video, userId: single! });
      const claimed = await jobs.claimJobs(claim);
      expect(claimed.map((job) => job.userId).toSorted()).toEqual([busy!, single!].toSorted());
      expect(claimed.map((job) => job.jobId)).toContain(jobId);
    }
  } finally {
    await Promise.all(peers.map((peer) => peer.close()));
  }
});

it('over a thousand claims, all users who always have due jobs get the same number', async () => {
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

it('eight workers that claim at the same time give each user about the same number', async () => {
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
  // Each worker goes round by itself, so for each worker one user is at most one job ahead. Measured in all: 3.
  expect(Math.max(...busy) - Math.min(...busy)).toBeLessThanOrEqual(8);
});

describe('a claim reads no more rows than it takes', () => {
  const NOBODY = '00000000-0000-0000-0000-000000000000';

  async function mostRows(limit: number): Promise<number> {
    const client = new Client({ connectionString: onServer(h.url) });
    await client.connect();
    try {
      const tables = tablesOf(h.dataSource);
      const { text } = limit === 1 ? claimOfNextUser(tables) : claimInTurn(tables);
      const values = [limit, HOUR_MS, 'worker-1', 5, NOBODY, limit].slice(0, limit === 1 ? 5 : 6);
      return mostRowsOfANode(await explain(client, { text, values }));
    } finally {
      await client.end();
    }
  }

  it('where the statistics of the planner know only one user, who has thousands of jobs', async () => {
    const { newUsers, backlog } = fairFixtures(h);
    const [busy, other] = await newUsers(2);
    await backlog(busy!, 20_000);
    await h.dataSource.query('VACUUM ANALYZE video_jobs');
    await backlog(other!, 1);
    expect(await mostRows(1)).toBeLessThanOrEqual(2);
    expect(await mostRows(2)).toBeLessThanOrEqual(4);
  });

  it('where a user has one job that is due, and thousands that are scheduled', async () => {
    const { newUsers, backlog } = fairFixtures(h);
    const [userId] = await newUsers(1);
    await backlog(userId!, 20_000);
    await h.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = "availableAt" + interval '1 day'`,
    );
    await backlog(userId!, 1);
    await h.dataSource.query('VACUUM ANALYZE video_jobs');
    expect(await mostRows(1)).toBeLessThanOrEqual(2);
    expect(await mostRows(10)).toBeLessThanOrEqual(4);
  });
});
