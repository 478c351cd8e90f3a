import { CONNECTIONS } from '../config.ts';

type Call = (connection: number) => Promise<unknown>;

/** The length of the lead-in, as a part of the length of a turn. */
const LEAD_IN = 1 / 8;

/**
 * Repeats a call on every connection, one at a time on each, for a while. A lead-in does not count, because pools have
 * closed connections that were idle during the turns of others, and caches contain the data of others.
 *
 * @returns calls per second
 */
export async function callsPerSecond(ms: number, call: Call): Promise<number> {
  await repeat(ms * LEAD_IN, call);
  return repeat(ms, call);
}

async function repeat(ms: number, call: Call): Promise<number> {
  let calls = 0;
  const start = performance.now();
  const end = start + ms;
  const loop = async (connection: number): Promise<void> => {
    while (performance.now() < end) {
      await call(connection);
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, connection) => loop(connection)));
  return (calls / (performance.now() - start)) * 1_000;
}

/** @returns items per second of one piece of work */
export async function itemsPerSecond(items: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (items / (performance.now() - start)) * 1_000;
}
