import type { Bench, Scenario, Subject } from '../harness/scenario.ts';
import { withClient } from '../harness/server.ts';
import { callsPerSecond, itemsPerSecond } from '../harness/turns.ts';
import { claimingByService } from '../subjects/claiming.ts';
import { videoOf } from '../subjects/fixtures.ts';
import * as frameForge from '../subjects/frameforge.ts';
import { drainingByWorker } from './4-drain.ts';

/** The lowest allowed ratio of the rate with the index that only the fair order needs to the rate without it. */
const AT_LEAST = 0.95;

const ROWS = ['createJob', 'createJobs', 'claim and complete', 'drain'] as const;

export const fairIndex: Scenario = {
  row: 11,
  title: 'rows 1 to 4 with the index of fair order, and without it',
  unit: 'jobs/s',
  requirements: ROWS.map((row) => ({
    subject: `${row}, with it`,
    against: `${row}, without it`,
    atLeast: AT_LEAST,
  })),
  async open(bench) {
    const [withIt, without] = [await rowsOf(bench, 'with'), await rowsOf(bench, 'without')];
    // Subjects that are compared with each other have their turns one after the other.
    return {
      subjects: withIt.flatMap((subject, row) => [subject, ...without.slice(row, row + 1)]),
    };
  },
};

async function rowsOf(bench: Bench, variant: 'with' | 'without'): Promise<Subject[]> {
  const { turnMs, batchRows } = bench.profile;
  const prepared = async (url: string): Promise<void> => {
    if (variant === 'with') return;
    await withClient(url, (client) => client.query('DROP INDEX idx_jobs_pending_user'));
  };
  const open = async (): Promise<frameForge.FrameForge> => {
    const on = await frameForge.openFrameForge(bench);
    await prepared(on.url);
    return on;
  };
  const [one, many, claims] = [await open(), await open(), await open()];
  const turns: Record<(typeof ROWS)[number], Pick<Subject, 'prepare' | 'measure'>> = {
    createJob: {
      measure: () => callsPerSecond(turnMs, () => one.jobs.createJob(videoOf(one.users))),
    },
    createJobs: {
      measure: () => {
        const videos = Array.from({ length: batchRows }, () => videoOf(many.users));
        return itemsPerSecond(batchRows, () => many.jobs.createJobs(videos));
      },
    },
    'claim and complete': claimingByService(bench, claims),
    drain: await drainingByWorker(bench, prepared),
  };
  return ROWS.map((row, index) => ({
    name: `${row}, ${variant} it`,
    how: `as in row ${index + 1}`,
    ...turns[row],
  }));
}
