// npm run chaos -- [--seconds 60] [--seed n]
//
// The ledger under fire: workers are killed and the database crashes while jobs come in. At the end
// nothing may be lost and nothing may be there twice. It exits with 1 otherwise.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openHarness } from '../support/harness.js';
import { OwnServer } from '../support/own-server.js';
import { Fleet } from './fleet.js';
import { Backlog } from './backlog.js';
import { acknowledge, clearLedger, createLedger, drain, readLedger, recoveries } from './ledger.js';
import { Producer } from './producer.js';
import { report, reportStarts } from './report.js';
import type { Outage } from './report.js';
import { measureStarts } from './starts.js';
import { DRAIN_MS, KILL_EVERY_MS, RATE, WORKERS } from './settings.js';

const { values } = parseArgs({
  options: { seconds: { type: 'string' }, seed: { type: 'string' } },
});
const seconds = Number(values.seconds ?? 60);
const seed = Number(values.seed ?? Date.now() % 2 ** 31);

const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** A generator of the same numbers for the same seed (mulberry32). */
function generator(state: number): () => number {
  let a = state;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function fire(server: OwnServer, fleet: Fleet, random: () => number): Promise<Outage[]> {
  const outages: Outage[] = [];
  const crash = async (): Promise<void> => {
    const from = Date.now();
    await server.control('restart', 'immediate');
    outages.push({ from, to: Date.now() });
  };
  const start = performance.now();
  const restarts = [seconds / 3, (2 * seconds) / 3].map((at) => at * 1_000);
  let restarting = Promise.resolve();
  for (let next = KILL_EVERY_MS; next <= seconds * 1_000; next += KILL_EVERY_MS) {
    await sleep(start + next - performance.now());
    fleet.killOne(random);
    if (next >= (restarts[0] ?? Infinity)) {
      restarts.shift();
      restarting = crash();
    }
  }
  await restarting;
  return outages;
}

async function main(): Promise<boolean> {
  const random = generator(seed);
  const server = await OwnServer.start();
  const h = await openHarness({}, { url: server.url, drop: () => server.remove() });
  const fleet = new Fleet(server.url);
  const backlog = new Backlog(h.dataSource, () => fleet.readyCount);
  try {
    await createLedger(h.dataSource);
    const { userId } = await h.user();
    const input = { userId, filename: 'sleep:0', videoUrl: 's3://videos/a.mp4' };
    print(reportStarts(await measureStarts(server.url, input)));
    await clearLedger(h.dataSource);
    const producer = new Producer(h.jobs, userId, random);
    print(
      `The ledger under fire: ${WORKERS} workers, ${RATE} jobs a second, for ${seconds} s; each ` +
        `${KILL_EVERY_MS / 1_000} s one is killed, and twice the database crashes (seed ${seed}).`,
    );
    fleet.start(WORKERS);
    while (fleet.readyCount < WORKERS) await sleep(50);
    producer.start(RATE);
    backlog.start();
    const outages = await fire(server, fleet, random);
    await producer.stop();
    await acknowledge(h.dataSource, producer.acknowledged);
    const drained = await drain(h.dataSource);
    await Promise.all([fleet.stop(), backlog.stop()]);
    const { counts, lost, mismatched, faults: broken } = await readLedger(h.dataSource);
    const recovered = await recoveries(h.dataSource, fleet.kills);
    print(
      report({
        counts,
        repeatedCalls: producer.repeated,
        kills: fleet.kills.size,
        recoveries: recovered,
        outages,
        backlog,
      }),
    );
    const faults = [
      ...broken,
      ...fleet.accidents,
      ...(drained ? [] : [`work was still under way ${DRAIN_MS / 1_000} s after the fire`]),
      // A fire that hit nothing proves nothing.
      ...(recovered.length > 0 ? [] : ['no job was in the hands of a worker that was killed']),
    ];
    for (const fault of faults) print(`  WRONG  ${fault}`);
    print(`${lost} lost, ${mismatched} mismatched`);
    return faults.length === 0;
  } finally {
    await Promise.all([fleet.stop(), backlog.stop()]);
    await h.close();
  }
}

process.exitCode = (await main()) ? 0 : 1;
