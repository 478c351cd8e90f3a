import * as fc from 'fast-check';
import { untilAllSeen } from '../support/all-seen.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { HOUR_MS, openPeer, video } from './fixtures.js';
import type { Peer } from './fixtures.js';
import { bulkCommands } from './bulk.commands.js';
import { edgeCommands } from './edge.commands.js';
import { controlCommands } from './control.commands.js';
import { queueCommands } from './queue.commands.js';
import { settleCommands } from './settle.commands.js';
import { newModel } from './job.world.js';
import type { Real } from './job.world.js';
import { legacyCommands } from './legacy.commands.js';

let h: Harness;
let peers: Peer[];
beforeAll(async () => {
  h = await openHarness();
  peers = [await openPeer(h.url), await openPeer(h.url)];
});
afterAll(async () => {
  await Promise.all(peers.map((peer) => peer.close()));
  await h.close();
});

/** The worker id that a service has given itself. */
async function workerIdOf({ jobs }: Peer): Promise<string> {
  const { userId } = await h.user();
  const { jobId } = await jobs.createJob({ ...video, userId });
  return (await jobs.startJob(jobId, { leaseMs: HOUR_MS })).workerId as string;
}

const verdicts = (moves: string[], codes: string[]): string[] =>
  moves.flatMap((move) => codes.map((code) => `${move}: ${code}`));

const OUTCOMES = [
  verdicts(['claimJobs'], ['claimed', 'exhausted']),
  verdicts(['extendLeases'], ['held', 'lost']),
  verdicts(
    ['completed', 'failed', 'retried', 'released', 'completeJobs'],
    ['done', 'LEASE_LOST', 'INVALID_JOB_TRANSITION'],
  ),
  verdicts(['in one turn'], ['done', 'LEASE_LOST', 'INVALID_JOB_TRANSITION']),
  verdicts(['startJob', 'retryJob', 'logNotification'], ['done', 'INVALID_JOB_TRANSITION']),
  ['again', 'of a pending job', 'of a processing job', 'INVALID_JOB_TRANSITION'].map(
    (outcome) => `cancelJob: ${outcome}`,
  ),
  verdicts(['reportProgress'], ['held', 'lost']),
  verdicts(['retryJobs', 'cancelJobs'], ['counted', 'done']),
  ['settled under a number of its own', 'logged under a number of its own'],
  ['pending to processing', 'processing to processing', 'failed to pending'].map(
    (move) => `stale save: refused: ${move}`,
  ),
  ['stale save: processing to pending', 'stale save: processing to failed', 'timed out'],
  ['legacy start', 'legacy retry', 'legacy finish: its own', "legacy finish: another's"],
].flat();

it('behaves like the model of the state machine, also beside other services', async () => {
  const workers = await Promise.all(
    peers.map(async (peer) => ({ peer, workerId: await workerIdOf(peer) })),
  );
  expect(workers[0]?.workerId).not.toBe(workers[1]?.workerId);
  const seen = new Map<string, number>();
  const moves = [
    ...queueCommands,
    ...settleCommands,
    ...controlCommands,
    ...bulkCommands,
    ...legacyCommands,
    ...edgeCommands,
  ];
  const sequences = fc.commands(moves, { maxCommands: 70, size: 'max' });
  const property = fc.asyncProperty(sequences, async (sequence) => {
    const user = await h.user();
    const real: Real = { dataSource: h.dataSource, workers, user, seen };
    try {
      await fc.asyncModelRun(() => ({ model: newModel(user.email), real }), sequence);
    } finally {
      await peers[0]!.jobs.resumeProcessing();
      // A claim must find only the jobs of this sequence.
      await h.dataSource.query(`DELETE FROM users WHERE "userId" = $1`, [user.userId]);
    }
  });
  // Each move must have been made at least once, and refused at least once. Otherwise it has not been tested.
  await untilAllSeen(OUTCOMES, seen, () => fc.assert(property, { numRuns: 500 }));
}, 600_000);
