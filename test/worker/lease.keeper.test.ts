import { VideoJob } from '../../src/schema/entities/index.js';
import type { Lease } from '../../src/jobs/leases/lease.keeper.js';
import { LeaseKeeper } from '../../src/jobs/leases/lease.keeper.js';
import { until } from '../support/until.js';
import { Worker } from './controlled.worker.js';
import { World } from './world.js';

let world: World;
let worker: Worker;
beforeAll(async () => {
  world = await World.open();
});
beforeEach(() => {
  worker = new Worker(world.harness);
});
afterEach(async () => {
  worker.keeper.clear();
  await world.clear();
});
afterAll(() => world.close());

/** Locks a job in another transaction. @returns a function that ends the transaction */
async function lock({ jobId }: { jobId: string }): Promise<() => Promise<void>> {
  const queryRunner = world.harness.dataSource.createQueryRunner();
  await queryRunner.startTransaction();
  await queryRunner.query('SELECT FROM video_jobs WHERE "jobId" = $1 FOR UPDATE', [jobId]);
  return async () => {
    await queryRunner.commitTransaction();
    await queryRunner.release();
  };
}

/** Claims jobs in the name of a worker, and gives their leases to its keeper. */
async function claimed(count: number, keeper: LeaseKeeper, leaseMs: number): Promise<Lease[]> {
  await world.create(...Array.from({ length: count }, () => 'a'));
  const sentAt = performance.now();
  return keeper.add(await worker.jobs.claimJobs({ limit: count, leaseMs }), sentAt);
}

it('a lease whose row is locked keeps its deadline, and is extended before the others', async () => {
  const leaseMs = 9_000;
  const keeper = new LeaseKeeper(worker.db, leaseMs, worker.recording, () => {});
  const [locked, free] = (await claimed(2, keeper, leaseMs)) as [Lease, Lease];
  const deadline = locked.deadline;
  const unlock = await lock(locked.job);
  await keeper['extend']();
  expect(locked.deadline).toBe(deadline);
  expect(free.deadline).toBeGreaterThan(deadline);
  const extendedUntil = free.deadline;
  await unlock();
  await until(async () => locked.deadline > deadline);
  expect(free.deadline).toBe(extendedUntil);
  expect(keeper.leases).toHaveLength(2);
  keeper.clear();
});

it('a lease that is over is lost if another worker has locked its row to take it', async () => {
  const [lease] = await claimed(1, worker.keeper, 60_000);
  await world.lapse(lease!.job);
  const unlock = await lock(lease!.job);
  await worker.heartbeat();
  await unlock();
  expect(worker.keeper.leases).toEqual([]);
  expect(lease!.abort.signal.aborted).toBe(true);
});

it('extends the leases of more jobs than a call of the service takes', async () => {
  const count = 10_001;
  const userId = world.inputs('a')[0]!.userId;
  const rows: { jobId: string }[] = await world.harness.dataSource.query(
    `INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "startedAt", "availableAt",
       "runNumber", attempts, "workerId")
     SELECT $1, 'a', 's3://videos/a.mp4', 'processing', now(), now() + interval '1 minute', 1, 1, $2
     FROM generate_series(1, ${count}) RETURNING "jobId"`,
    [userId, worker.jobs.workerId],
  );
  const jobs = rows.map(({ jobId }) =>
    Object.assign(new VideoJob(), {
      jobId,
      runNumber: 1,
      workerId: worker.jobs.workerId,
      attempts: 1,
    }),
  );
  const leases = worker.keeper.add(jobs, performance.now() - 1_000);
  const deadline = leases[0]!.deadline;
  await worker.heartbeat();
  expect(leases.filter((lease) => lease.deadline <= deadline)).toEqual([]);
  expect(worker.keeper.leases).toHaveLength(count);
});

it('the error of a lease that ends while the event loop is blocked says so', async () => {
  const leaseMs = 300;
  const lost: Lease[] = [];
  const keeper = new LeaseKeeper(worker.db, leaseMs, worker.recording, (lease) => lost.push(lease));
  const [idle, settling] = (await claimed(2, keeper, leaseMs)) as [Lease, Lease];
  // The handler of this run has ended and its outcome is being written. The answer of the database decides.
  settling.settling = true;
  for (const end = performance.now() + 2 * leaseMs; performance.now() < end;);
  await until(() => lost.length > 0);
  expect(lost).toEqual([idle]);
  const blocked = /the event loop of this process was blocked.* for \d+ ms/;
  expect(idle.overslept).toMatch(blocked);
  expect(settling.overslept).toMatch(blocked);
  expect((idle.abort.signal.reason as Error).message).toMatch(blocked);
  keeper.clear();
});

it('the error of a lease that ends while the event loop works does not say that it was blocked', async () => {
  const lost: Lease[] = [];
  const keeper = new LeaseKeeper(worker.db, 60_000, worker.recording, (lease) => lost.push(lease));
  const [lease] = await claimed(1, keeper, 60_000);
  await world.lapse(lease!.job);
  await world.harness.jobs.claimJobs();
  await keeper['extend']();
  expect(lost).toEqual([lease]);
  expect(lease!.overslept).toBeUndefined();
  keeper.clear();
});
