// npm run test:failover -- [--keep]
//
// A fleet of workers and a producer work on a real Patroni cluster, whose leader is switched over, killed, crashed and
// frozen. No acknowledged write may be lost, and each final job must have exactly its notification. Otherwise the
// exit code is 1. --keep leaves the cluster's directory, with all logs.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Fleet } from '../chaos/fleet.js';
import { acknowledge, clearLedger, createLedger, drain, readLedger } from '../chaos/ledger.js';
import { Producer } from '../chaos/producer.js';
import { DRAIN_MS, RATE } from '../chaos/settings.js';
import { openHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { Cluster } from './cluster.js';
import { FAULTS } from './faults.js';
import { Watch } from './watch.js';
import { checkPrograms } from './programs.js';

const NODES = ['a', 'b', 'c'];
const WORKERS = 3;
/** How long the work goes on without a fault, before each fault and after the cluster has healed, in ms. */
const CALM_MS = 5_000;

const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

/** Runs one fault. @returns the problems that it found */
async function scene(
  name: string,
  strike: (cluster: Cluster) => Promise<void>,
  cluster: Cluster,
  h: Harness,
  userId: string,
): Promise<string[]> {
  await clearLedger(h.dataSource);
  const producer = new Producer(h.jobs, userId, Math.random);
  // Measures the outage of the cluster itself, so that the time that the package adds can be seen.
  const writes = new Watch(cluster.url, 'INSERT INTO writes DEFAULT VALUES RETURNING number');
  const work = new Watch(cluster.url, 'SELECT count("completedAt") FROM video_jobs');
  producer.start(RATE);
  await sleep(CALM_MS);
  try {
    await strike(cluster);
    await cluster.untilHealthy();
    await sleep(CALM_MS);
  } finally {
    await producer.stop();
  }
  await acknowledge(h.dataSource, producer.acknowledged);
  const drained = await drain(h.dataSource);
  const [away, gap] = await Promise.all([writes.stop(), work.stop()]);
  const { counts, lost, mismatched, faults } = await readLedger(h.dataSource);
  print(
    `${name.padEnd(18)} acknowledged ${counts.acknowledged}, lost ${lost}, mismatched ${mismatched}; ` +
      `longest gap of work ${seconds(gap)}, of writes of a plain client ${seconds(away)}; ` +
      `${producer.repeated} calls repeated, ${counts.lostRuns} runs lost, ` +
      `${counts.receivedTwice} of ${counts.received} messages repeated`,
  );
  return [
    ...faults,
    ...(drained ? [] : [`work was still under way ${DRAIN_MS / 1_000} s after the end`]),
    // If no call met the fault, the run proves nothing.
    ...(producer.repeated > 0 ? [] : ['no call met the fault']),
  ].map((fault) => `${name}: ${fault}`);
}

async function main(): Promise<boolean> {
  checkPrograms();
  const start = performance.now();
  const cluster = await Cluster.start(NODES, values.keep);
  if (values.keep) print(`The cluster's directory is ${cluster.directory}`);
  const fleet = new Fleet(cluster.url);
  let h: Harness | undefined;
  try {
    h = await openHarness({}, { url: cluster.url, drop: async () => {} });
    await createLedger(h.dataSource);
    await h.dataSource.query('CREATE TABLE writes (number serial)');
    const { userId } = await h.user();
    fleet.start(WORKERS);
    while (fleet.readyCount < WORKERS) await sleep(50);
    print(`The cluster and ${WORKERS} workers are up after ${seconds(performance.now() - start)}.`);
    const faults: string[] = [];
    for (const [name, strike] of Object.entries(FAULTS)) {
      faults.push(...(await scene(name, strike, cluster, h, userId)));
    }
    await fleet.stop();
    faults.push(...fleet.accidents);
    for (const fault of faults) print(`  WRONG  ${fault}`);
    print(`It took ${seconds(performance.now() - start)}.`);
    return faults.length === 0;
  } finally {
    await fleet.stop();
    await h?.close();
    await cluster.stop();
  }
}

process.exitCode = (await main()) ? 0 : 1;
