import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { FrameForgeWorker } from '../../src/worker/index.js';
import { until } from '../support/until.js';
import { bootWorker, RESULT } from './app.js';
import { World } from './world.js';

const JOBS = 500;
const ROUNDS = 4;
const MB = 1024 * 1024;
/** What each job keeps in memory, in bytes, as long as anything refers to it. */
const BALLAST = 32 * 1024;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as (options?: { type: 'minor' }) => void;

/** The memory in use after collections of the young objects alone. */
function usedMb(): number {
  for (let n = 0; n < 3; n += 1) gc({ type: 'minor' });
  return process.memoryUsage().heapUsed / MB;
}

let world: World;
beforeAll(async () => {
  world = await World.open();
});
afterAll(() => world.close());

// Otherwise the memory of a busy worker grows until V8 collects the old objects, too.
it('a collection of the young objects frees what belongs to a finished job', async () => {
  const app = await bootWorker(world.harness.url, {
    process: (job) => {
      Object.assign(job, { ballast: Array.from({ length: BALLAST / 8 }, Math.random) });
      return Promise.resolve(RESULT);
    },
  });
  const run = async (total: number): Promise<void> => {
    await world.create(...Array.from({ length: JOBS }, () => 'a'));
    await until(() => {
      const { counts } = app.get(FrameForgeWorker).stats();
      return Promise.resolve(counts['jobs.completed'] === total);
    });
  };
  try {
    await run(JOBS);
    const grown: number[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      gc();
      const before = usedMb();
      await run((1 + round) * JOBS);
      grown.push(usedMb() - before);
    }
    // Some jobs become old because V8 collects the young objects while they run. This differs from round to round.
    expect(Math.min(...grown)).toBeLessThan((JOBS * BALLAST) / MB / 3);
  } finally {
    await app.close();
  }
});
