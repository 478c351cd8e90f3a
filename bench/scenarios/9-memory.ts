import { answerOf, endOf, startProcess } from '../harness/processes.ts';
import { median } from '../harness/rounds.ts';
import type { Scenario } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { fillPending } from '../subjects/fixtures.ts';
import { createMigratedDatabase } from '../subjects/frameforge.ts';

interface Memory {
  readonly rssMb: number;
  readonly heapMb: number;
}

const FILE = 'drain.mjs';

export const memory: Scenario = {
  row: 9,
  title: 'memory of a worker process',
  unit: 'MB resident',
  requirements: [{ subject: 'after 200,000 jobs', against: 'after 10,000 jobs', atMost: 1.1 }],
  async open(bench) {
    const { rounds, before, after } = bench.profile.memory;
    const { url } = await createMigratedDatabase(bench);
    const heaps: [number[], number[]] = [[], []];
    let late: Memory | undefined;
    return {
      rounds,
      warmUps: 0,
      subjects: [
        {
          name: 'after 10,000 jobs',
          how: 'a process with a `FrameForgeWorkerModule` and a handler with `concurrency: 100`, after a garbage collection',
          prepare: () => withClient(url, (client) => client.query('TRUNCATE video_jobs CASCADE')),
          measure: async () => {
            const child = startProcess(FILE, { DATABASE_URL: url });
            await answerOf(child, FILE);
            const drain = async (total: number, more: number): Promise<Memory> => {
              await fillPending(url, more);
              child.send(total);
              return answerOf<Memory>(child, FILE);
            };
            const early = await drain(before, before);
            late = await drain(after, after - before);
            child.send(0);
            await endOf(child);
            heaps[0].push(early.heapMb);
            heaps[1].push(late.heapMb);
            return early.rssMb;
          },
        },
        {
          name: 'after 200,000 jobs',
          how: 'the same process later',
          measure: async () => late?.rssMb ?? NaN,
        },
      ],
      conclude: () => ({
        notes: [
          `Heap in use: ${median(heaps[0]).toFixed(1)} MB, then ${median(heaps[1]).toFixed(1)} MB.`,
        ],
      }),
    };
  },
};
