import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { query } from '../support/query.js';
import { createDatabase } from '../support/server.js';
import type { Catalog } from '../schema/catalog.js';
import { readCatalog } from '../schema/catalog.js';
import { PAUSES } from './booter.migrations.js';
import type { Order } from './replica.js';
import { Replica } from './replica.js';

const KILLS = 50;
/** The longest time from a pause to the kill, in ms. A pause is 20 ms, so a kill can also come after it. */
const LATER_MS = 40;
/** The next processes start in advance, because the start of a process takes longer than a boot. */
const SPARES = 3;

/** The database after an uninterrupted boot. */
interface State {
  readonly migrations: unknown[];
  readonly catalog: Catalog;
}

const victims: Promise<Replica>[] = [];
let survivor: Replica;
let expected: State;
beforeAll(async () => {
  survivor = await Replica.start();
  expected = await onEmptyDatabase(async (url) => {
    expect(await survivor.boot(orderOn(url))).toEqual({ booted: true });
    return stateOf(url);
  });
}, 60_000);
afterAll(async () => {
  await survivor.stop();
  for (const victim of victims) await (await victim).stop();
});

const orderOn = (url: string): Order => ({ kind: 'ours', url, migrations: 'slow' });

async function onEmptyDatabase<T>(use: (url: string) => Promise<T>): Promise<T> {
  const database = await createDatabase();
  try {
    return await use(database.url);
  } finally {
    await database.drop();
  }
}

async function stateOf(url: string): Promise<State> {
  const migrations = (await query(url, 'SELECT name FROM migrations ORDER BY id')).map(
    ({ name }) => name,
  );
  const dataSource = await new DataSource({ type: 'postgres', url }).initialize();
  try {
    return { migrations, catalog: await readCatalog(dataSource) };
  } finally {
    await dataSource.destroy();
  }
}

/** How many migrations are applied; undefined if their table does not exist. */
async function progressOf(url: string): Promise<number | undefined> {
  const [table] = await query(url, `SELECT to_regclass('migrations') IS NOT NULL AS exists`);
  if (table?.['exists'] !== true) return undefined;
  const [row] = await query(url, 'SELECT count(*)::int AS n FROM migrations');
  return Number(row?.['n']);
}

async function nextVictim(): Promise<Replica> {
  while (victims.length <= SPARES) victims.push(Replica.start());
  return victims.shift()!;
}

/**
 * Boots a replica and kills it a random time after a step.
 *
 * @returns whether the kill ended it; the boot may have ended before
 */
async function killAt(step: number, url: string): Promise<boolean> {
  const victim = await nextVictim();
  let killed: Promise<void> | undefined;
  const outcome = await victim.boot(orderOn(url), (reached) => {
    if (reached === step) {
      killed = sleep(Math.random() * LATER_MS).then(() => victim.kill());
    }
  });
  await killed;
  if (outcome.booted) return false;
  expect(outcome.reason).toBe('The replica ended with SIGKILL');
  return true;
}

it(`a replica is killed at ${KILLS} instants of its migrations: the next boot finishes each`, async () => {
  const progress: (number | undefined)[] = [];
  while (progress.length < KILLS) {
    // The kills cover the whole boot: before the first migration, and after each of them.
    const step = progress.length % (PAUSES + 1);
    await onEmptyDatabase(async (url) => {
      if (!(await killAt(step, url))) return;
      progress.push(await progressOf(url));
      expect(await survivor.boot(orderOn(url))).toEqual({ booted: true });
      expect(await stateOf(url)).toEqual(expected);
    });
  }
  expect(new Set(expected.migrations).size).toBe(11);
  expect(expected.migrations).toHaveLength(11);
  // The kills must have met many different steps. Kills at few steps, or only at the ends, would prove little.
  expect(new Set(progress).size).toBeGreaterThan(5);
}, 300_000);
