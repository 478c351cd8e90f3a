// npm run chaos -- [--seconds 60] [--seed n]
// A test of the ledger of jobs. While jobs are created and cancelled, workers are killed, statements reach the
// timeouts of their role, and the database crashes; once it vanishes without closing its connections. At the end no
// job may be lost, and no notification may be there twice. Otherwise the exit code is 1.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openHarness } from '../support/harness.js';
import { OwnServer } from '../support/own-server.js';
import { Proxy } from '../support/proxy.js';
import { Canceller } from './canceller.js';
import { Fleet } from './fleet.js';
import { Backlog } from './backlog.js';
import { acknowledge, clearLedger, createLedger, drain, readLedger, recoveries } from './ledger.js';
import { countTimeouts, createApplicationRole, Neighbour } from './hardships.js';
import { Producer } from './producer.js';
import { report, reportStarts } from './report.js';
import type { Outage } from './report.js';
import { measureStarts } from './starts.js';
import {
  CANCEL_RATE,
  DRAIN_MS,
  KEEP_ALIVE_MS,
  KILL_EVERY_MS,
  RATE,
  REPLY_TIMEOUT_MS,
  WORKERS,
} from './settings.js';

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

/** The server crashes, and is back at once. */
async function crash(server: OwnServer): Promise<Outage> {
  const from = Date.now();
  await server.control('restart', 'immediate');
  return { from, to: Date.now() };
}

/** The server vanishes: open connections get no answer and no end. A new server takes its place. */
async function vanish(server: OwnServer, proxy: Proxy): Promise<Outage> {
  proxy.silent = true;
  // A statement in a handler's own transaction waits until TCP gives up.
  setTimeout(proxy.freeze(), KEEP_ALIVE_MS).unref();
  const outage = await crash(server);
  proxy.silent = false;
  return outage;
}

async function fire(
  server: OwnServer,
  proxy: Proxy,
  fleet: Fleet,
  random: () => number,
): Promise<Outage[]> {
  const start = performance.now();
  const strikes = [
    { at: seconds / 3, strike: () => crash(server) },
    { at: (2 * seconds) / 3, strike: () => vanish(server, proxy) },
  ];
  const outages: Promise<Outage>[] = [];
  for (let next = KILL_EVERY_MS; next <= seconds * 1_000; next += KILL_EVERY_MS) {
    await sleep(start + next - performance.now());
    fleet.killOne(random);
    const [due] = strikes;
    if (due !== undefined && next >= due.at * 1_000) {
      strikes.shift();
      outages.push(due.strike());
    }
  }
  return Promise.all(outages);
}

async function main(): Promise<boolean> {
  const random = generator(seed);
  const server = await OwnServer.start();
  const h = await openHarness({}, { url: server.url, drop: () => server.remove() });
  await createLedger(h.dataSource);
  const { userId } = await h.user();
  const input = { userId, filename: 'sleep:0', videoUrl: 's3://videos/a.mp4' };
  print(reportStarts(await measureStarts(server.url, input)));
  await clearLedger(h.dataSource);
  const proxy = await Proxy.start(server.url);
  const url = await createApplicationRole(h.dataSource, proxy.url);
  const options = { replyTimeoutMs: REPLY_TIMEOUT_MS };
  const application = await openHarness(options, { url, drop: () => proxy.stop() });
  const producer = new Producer(application.jobs, userId, random);
  const canceller = new Canceller(application.jobs, producer.acknowledged, random);
  const neighbour = new Neighbour(h.dataSource);
  const fleet = new Fleet(url);
  const backlog = new Backlog(h.dataSource, () => fleet.readyCount);
  const stop = (): Promise<unknown> =>
    Promise.all([fleet.stop(), backlog.stop(), neighbour.stop()]);
  try {
    print(
      `The ledger under fire: ${WORKERS} workers, ${RATE} jobs a second, for ${seconds} s; each ` +
        `${KILL_EVERY_MS / 1_000} s one is killed, and the database crashes, once in silence (seed ${seed}).`,
    );
    fleet.start(WORKERS);
    while (fleet.readyCount < WORKERS) await sleep(50);
    producer.start(RATE);
    canceller.start(CANCEL_RATE);
    backlog.start();
    neighbour.start();
    const outages = await fire(server, proxy, fleet, random);
    await Promise.all([producer.stop(), canceller.stop()]);
    await neighbour.stop();
    await acknowledge(h.dataSource, producer.acknowledged, canceller.cancelled);
    const drained = await drain(h.dataSource);
    await stop();
    const { counts, lost, mismatched, faults: broken } = await readLedger(h.dataSource);
    const recovered = await recoveries(h.dataSource, fleet.kills);
    const timeouts = countTimeouts(server.log());
    print(
      report({
        counts,
        repeatedCalls: producer.repeated,
        timeouts,
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
      // A run in which no fault hit anything proves nothing.
      ...(recovered.length > 0 ? [] : ['no job was in the hands of a worker that was killed']),
      ...(counts.cancelledAtWork > 0 ? [] : ['no job was cancelled while it was at work']),
      ...(timeouts.locks > 0 ? [] : ['no statement met the lock_timeout']),
      ...(timeouts.statements > 0 ? [] : ['no statement met the statement_timeout']),
    ];
    for (const fault of faults) print(`  WRONG  ${fault}`);
    print(`${lost} lost, ${mismatched} mismatched`);
    return faults.length === 0;
  } finally {
    await stop();
    await application.close();
    await h.close();
  }
}

process.exitCode = (await main()) ? 0 : 1;
