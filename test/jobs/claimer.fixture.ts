// A process that claims jobs until none is left, and reports which jobs it got. With a lease it also
// completes them, sometimes too late.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClaimJobsInput } from '../../src/jobs/job.inputs.js';
import { openPeer, result } from './fixtures.js';

const [url, terms = '{}'] = process.argv.slice(2);
const { lease, ...how } = JSON.parse(terms) as Pick<ClaimJobsInput, 'order'> & { lease?: number };
const { jobs: service, close } = await openPeer(String(url));
const tell = (message: object): void => void process.stdout.write(`${JSON.stringify(message)}\n`);

/** Claims in batches of all sizes, so that the claims of the processes overlap in many ways. */
async function claim(): Promise<void> {
  for (let limit = 1; ; limit = (limit % 40) + 1) {
    const claimed = await service.claimJobs({ limit, ...how });
    if (claimed.length === 0) return;
    tell({ claimed: claimed.map(({ jobId, runNumber }) => ({ jobId, runNumber })) });
  }
}

/** Claims and completes until the parent says that everything is done. */
async function work(leaseMs: number): Promise<void> {
  for (let limit = 1; !process.stdin.readableEnded; limit = (limit % 20) + 1) {
    const claimed = await service.claimJobs({ limit, leaseMs, maxAttempts: 1_000_000 });
    tell({ claimed: claimed.map(({ jobId, runNumber }) => ({ jobId, runNumber })) });
    await sleep(Math.random() * 2 * leaseMs);
    const verdicts = await service.completeJobs(claimed.map((job) => ({ job, result })));
    tell({
      completed: verdicts.flatMap((verdict) => ('error' in verdict ? [] : [verdict.job.jobId])),
      refused: verdicts.flatMap((verdict) => ('error' in verdict ? [verdict.error.code] : [])),
    });
  }
}

tell({ ready: true });
await new Promise((resolve) => process.stdin.once('data', resolve));
if (lease === undefined) await claim();
else await work(lease);
await close();
process.stdin.destroy();
