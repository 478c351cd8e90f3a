import { setTimeout as sleep } from 'node:timers/promises';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { fairFixtures } from './fair.fixtures.js';
import { openPeer, result } from './fixtures.js';

const CLAIMERS = 16;
const CAP = 3;
const SECONDS = 30;

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
});
afterEach(() => h.close());

/** How many jobs run in all, and of the user with the most jobs, in one snapshot of the database. */
async function sample(): Promise<{ all: number; most: number }> {
  const [row] = await h.dataSource.query(
    `SELECT COALESCE(sum(n), 0)::integer AS all, COALESCE(max(n), 0)::integer AS most FROM (
       SELECT count(*) AS n FROM video_jobs WHERE status = 'processing' GROUP BY "userId"
     ) AS counted`,
  );
  return row;
}

/** The most jobs of one user that ran at the same time, computed from the start and the end of each job. */
async function mostAtOnce(): Promise<number> {
  // If a job starts in the millisecond in which another one ended, it has taken the place of that one.
  const [row] = await h.dataSource.query(
    `SELECT max(running)::integer AS most FROM (
       SELECT sum(step) OVER (PARTITION BY "userId" ORDER BY at, step) AS running FROM (
         SELECT "userId", "startedAt" AS at, 1 AS step FROM video_jobs WHERE "startedAt" IS NOT NULL
         UNION ALL
         SELECT "userId", "completedAt", -1 FROM video_jobs WHERE "completedAt" IS NOT NULL
       ) AS steps
     ) AS counted`,
  );
  return row.most;
}

it.each([
  ['fewer places than claimers', 4],
  ['more places than claimers', 20],
])(
  '%s: no user ever has more running jobs than the limit, and all places are used',
  async (_, userCount) => {
    const { newUsers, backlog } = fairFixtures(h);
    const users = await newUsers(userCount);
    await Promise.all(users.map((userId) => backlog(userId, 40_000 / userCount)));
    const peers = await Promise.all(Array.from({ length: CLAIMERS }, () => openPeer(h.url)));
    const end = performance.now() + SECONDS * 1_000;
    let done = 0;
    const work = async ({ jobs }: (typeof peers)[number]): Promise<void> => {
      while (performance.now() < end) {
        const [job] = await jobs.claimJobs({ limit: 1, maxRunningPerUser: CAP });
        // Claiming and recording take a small part of the time, also on a busy machine.
        await sleep(job === undefined ? 10 : 100 + Math.random() * 100);
        if (job === undefined) continue;
        await jobs.completeJob(job, result);
        done += 1;
      }
    };
    const samples: { all: number; most: number }[] = [];
    const watch = async (): Promise<void> => {
      for (; performance.now() < end; await sleep(20)) samples.push(await sample());
    };
    try {
      await Promise.all([...peers.map(work), watch()]);
    } finally {
      await Promise.all(peers.map((peer) => peer.close()));
    }
    expect(Math.max(...samples.map(({ most }) => most))).toBe(CAP);
    expect(await mostAtOnce()).toBe(CAP);
    expect(done).toBeLessThan(40_000);
    const all = samples.map((one) => one.all).toSorted((a, b) => a - b);
    const places = Math.min(CLAIMERS, CAP * userCount);
    expect(all.at(-1)).toBe(places);
    // A place is free between two jobs while the result of one is recorded and the other is claimed. On a busy machine
    // that takes a part of the time.
    expect(all[Math.floor(all.length / 2)]).toBeGreaterThan(places / 2);
  },
);
