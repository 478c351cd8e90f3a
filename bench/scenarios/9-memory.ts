import { answerOf, endOf, startProcess } from '../harness/processes.ts';
import { median } from '../harness/rounds.ts';
import type { Scenario, Subject } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { fillPending } from '../subjects/fixtures.ts';
import { createMigratedDatabase } from '../subjects/frameforge.ts';

interface Memory {
  readonly rssMb: number;
  readonly heapMb: number;
}

const FILE = 'drain.mjs';

const EARLY = 'after 10,000 jobs';
const LATE = 'after 200,000 jobs';
const UNLIMITED = "with Node 24's own limits";

export const memory: Scenario = {
  row: 9,
  title: 'memory of a worker process',
  unit: 'MB resident',
  requirements: [{ subject: LATE, against: EARLY, atMost: 1.1 }],
  async open(bench) {
    const { rounds, before, after } = bench.profile.memory;
    const { url } = await createMigratedDatabase(bench);
    const heaps: [number[], number[]] = [[], []];

    const drainTwice = async (nodeOptions: readonly string[]): Promise<[Memory, Memory]> => {
      await withClient(url, (client) => client.query('TRUNCATE video_jobs CASCADE'));
      const child = startProcess(FILE, { DATABASE_URL: url }, nodeOptions);
      await answerOf(child, FILE);
      const drain = async (total: number, more: number): Promise<Memory> => {
        await fillPending(url, more);
        child.send(total);
        return answerOf<Memory>(child, FILE);
      };
      const early = await drain(before, before);
      const late = await drain(after, after - before);
      child.send(0);
      await endOf(child);
      heaps[0].push(early.heapMb);
      heaps[1].push(late.heapMb);
      return [early, late];
    };
    /** One process, measured at two times. */
    const pair = (which: string, how: string, nodeOptions: readonly string[]): Subject[] => {
      let measured: Promise<[Memory, Memory]> | undefined;
      let taken = 0;
      // The one that has its turn first in a round starts the process.
      const take = async (time: 0 | 1): Promise<number> => {
        measured ??= drainTwice(nodeOptions);
        const { rssMb } = (await measured)[time];
        taken += 1;
        if (taken % 2 === 0) measured = undefined;
        return rssMb;
      };
      return [
        { name: `${EARLY}${which}`, how, measure: () => take(0) },
        { name: `${LATE}${which}`, how: 'the same process later', measure: () => take(1) },
      ];
    };
    return {
      rounds,
      warmUps: 0,
      subjects: [
        ...pair(
          '',
          'a process with a `FrameForgeWorkerModule` and a handler with `concurrency: 100`, after a garbage collection; `--max-semi-space-size=16`, which is what Node 20 and 22 have by themselves',
          ['--max-semi-space-size=16'],
        ),
        ...pair(`, ${UNLIMITED}`, 'the same without that option', []),
      ],
      conclude: () => ({
        notes: [
          `Heap in use: ${median(heaps[0]).toFixed(1)} MB, then ${median(heaps[1]).toFixed(1)} MB.`,
        ],
      }),
    };
  },
};
