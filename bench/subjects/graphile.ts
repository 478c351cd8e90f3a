import { Logger, makeWorkerUtils } from 'graphile-worker';
import type { WorkerUtils } from 'graphile-worker';
import { CONNECTIONS } from '../config.ts';
import type { Bench } from '../harness/scenario.ts';
import { randomUsers, videoOf } from './fixtures.ts';

export const TASK = 'process-video';

const FILL_ROWS = 10_000;
const USERS = randomUsers(1);

/** A logger without output. By default, graphile-worker logs every job. */
const silent = new Logger(() => () => {});

export interface Graphile {
  readonly url: string;
  readonly utils: WorkerUtils;
}

/** The configuration of graphile-worker, besides the options that are compared. */
export const presetOf = (url: string): GraphileConfig.Preset & { worker: object } => ({
  worker: { connectionString: url, maxPoolSize: CONNECTIONS, logger: silent },
});

export async function openGraphile(bench: Bench): Promise<Graphile> {
  const url = await bench.createDatabase();
  const utils = await makeWorkerUtils({ preset: presetOf(url) });
  bench.onEnd(async () => utils.release());
  await utils.migrate();
  return { url, utils };
}

/** Adds pending jobs. */
export async function fillGraphile({ utils }: Graphile, count: number): Promise<void> {
  for (let left = count; left > 0; left -= FILL_ROWS) {
    const length = Math.min(left, FILL_ROWS);
    const payload = { ...videoOf(USERS) };
    await utils.addJobs(Array.from({ length }, () => ({ identifier: TASK, payload })));
  }
}
