import { watchedJobs } from '../../../src/jobs/watching/job.watch.sql.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { openHarness } from '../../support/harness.js';
import type { Harness } from '../../support/harness.js';
import { OwnServer } from '../../support/own-server.js';
import { until } from '../../support/until.js';
import { Statements } from '../../worker/statements.js';
import { HOUR_MS, openPeer, result, video } from '../fixtures.js';
import type { Peer } from '../fixtures.js';
import { times } from '../race.js';
import { Watched } from './watched.js';

const WATCHERS = 1_000;

let server: OwnServer;
let h: Harness;
let other: Peer;
const statements = new Statements();
beforeAll(async () => {
  server = await OwnServer.start();
  const database = { url: server.url, drop: () => server.remove() };
  h = await openHarness({ logger: statements }, database);
  other = await openPeer(server.url);
});
afterAll(async () => {
  await other.close();
  await h.close();
});

it('a thousand watchers receive the final states that were written while the server restarted', async () => {
  const { userId } = await h.user();
  await h.jobs.createJobs(times(WATCHERS, () => ({ ...video, userId })));
  const jobs = await other.jobs.claimJobs({ limit: WATCHERS, leaseMs: HOUR_MS });
  const all = jobs.map(({ jobId }) => new Watched(h.jobs.watchJob(jobId)));
  await until(() => all.every(({ told }) => told.length === 1));
  const looks = (): number => statements.count(h.dataSource, watchedJobs);
  const [before, start] = [looks(), performance.now()];
  const completions = async (part: typeof jobs): Promise<void> => {
    const verdicts = await other.jobs.completeJobs(part.map((job) => ({ job, result })));
    expect(verdicts.filter((verdict) => 'error' in verdict)).toEqual([]);
  };
  // Jobs are completed before the next read of the watchers, and after the restart.
  await completions(jobs.slice(0, 300));
  await server.control('stop', 'immediate');
  // At least one read finds no server.
  await sleep(1_500);
  expect(all.some(({ isOver, error }) => isOver && error !== undefined)).toBe(false);
  await server.control('start');
  await completions(jobs.slice(300, 700));
  await until(() => all.slice(0, 700).every(({ isOver }) => isOver));
  expect(all.slice(700).some(({ isOver }) => isOver)).toBe(false);
  await completions(jobs.slice(700));
  await until(() => all.every(({ isOver }) => isOver));
  for (const { states, error } of all) {
    expect([states, error]).toEqual([['processing 0', 'completed 100'], undefined]);
  }
  const seconds = (performance.now() - start) / 1_000;
  expect(looks() - before).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
});
