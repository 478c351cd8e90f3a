import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import type { DataSource, EntityManager } from 'typeorm';
import { resolveOptions } from '../../src/database.options.js';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import { subscribe } from '../../src/peers/typeorm.internals.js';
import type { JobResult } from '../../src/jobs/job.inputs.js';
import { User, VideoJob } from '../../src/schema/entities/index.js';
import type { JobOutcome } from '../../src/worker/index.js';
import { Proxy } from '../support/proxy.js';
import { query } from '../support/query.js';
import { until } from '../support/until.js';
import { RESULT, Run, Worker } from './controlled.worker.js';
import { World } from './world.js';

// The worker fails to record the outcome of a run. The worker reaches the database through a proxy, which the tests
// break.

let world: World;
let proxy: Proxy;
let dataSource: DataSource;
let worker: Worker;
beforeAll(async () => {
  Logger.overrideLogger(false);
  world = await World.open();
});
afterAll(() => world.close());
beforeEach(async () => {
  proxy = await Proxy.start(world.harness.url);
  const resolved = resolveOptions({ url: proxy.url });
  const silent = { log: () => {}, warn: () => {} };
  dataSource = await openDataSource(resolved.dataSource, resolved.boot, silent);
  worker = new Worker({ dataSource });
});
afterEach(async () => {
  jest.restoreAllMocks();
  worker.keeper.clear();
  await dataSource.destroy();
  await proxy.stop();
  await world.clear();
});

const claim = async (count = 1): Promise<Run[]> => {
  await world.create(...Array.from({ length: count }, (_, i) => `file ${i}`));
  const jobs = await worker.jobs.claimJobs();
  return jobs.map((job) => new Run(worker, job));
};

const LOCK = 'SELECT FROM video_jobs WHERE "jobId" = $1 FOR UPDATE';
const TAKE_OVER = `UPDATE video_jobs SET "workerId" = 'thief', "runNumber" = 2 WHERE "jobId" = $1`;

/** Locks a job, so that a statement about it has to wait. */
async function lock({ jobId }: VideoJob, how = LOCK): Promise<() => Promise<void>> {
  const queryRunner = world.harness.dataSource.createQueryRunner();
  await queryRunner.startTransaction();
  await queryRunner.query(how, [jobId]);
  return async () => {
    await queryRunner.commitTransaction();
    await queryRunner.release();
  };
}

const waitingForLocks = async (): Promise<number> =>
  (
    await query(
      world.harness.url,
      `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
    )
  ).length;

describe('a result', () => {
  it('that is written and whose reply is lost counts once', async () => {
    const [run] = await claim();
    const unlock = await lock(run!.job);
    const outcome = run!.resolve(RESULT);
    await until(async () => (await waitingForLocks()) === 1);
    // The server has the statement and will execute it, but its reply will be lost.
    proxy.cut();
    await unlock();
    expect(await outcome).toBe('completed');
    expect(await world.job(run!.job)).toMatchObject({ status: 'completed', attempts: 1 });
    expect(await world.notifications(run!.job)).toHaveLength(1);
    expect(await world.errors(run!.job)).toEqual([]);
  });

  it('that comes too late after an outage still ends the outage', async () => {
    const [run] = await claim();
    const unlock = await lock(run!.job, TAKE_OVER);
    const outcome = run!.end('throw');
    await until(async () => (await waitingForLocks()) === 1);
    proxy.cut();
    await until(() => worker.outage.isDown);
    await unlock();
    expect(await outcome).toBe('lost');
    await worker.heartbeat();
    expect(worker.outage.isDown).toBe(false);
  });

  it('that cannot be written before the worker ends does not count as a failure of the run', async () => {
    const [run] = await claim();
    const unlock = await lock(run!.job);
    const outcome = run!.resolve(RESULT);
    await until(async () => (await waitingForLocks()) === 1);
    worker.outage.stop();
    await query(
      world.harness.url,
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
       WHERE wait_event_type = 'Lock' AND datname = current_database()`,
    );
    expect(await outcome).toBe('lost');
    await unlock();
    expect(await world.job(run!.job)).toMatchObject({ status: 'processing', attempts: 1 });
    expect(await world.errors(run!.job)).toEqual([]);
  });

  it('that the database refuses fails only its own run', async () => {
    const runs = await claim(3);
    const [refused, ...others] = runs;
    await world.harness.dataSource.query(
      `ALTER TABLE video_jobs ADD CONSTRAINT refuse CHECK ("resultUrl" <> 's3://refused')`,
    );
    try {
      const outcomes = runs.map((run) =>
        run.resolve(run === refused ? { ...RESULT, resultUrl: 's3://refused' } : RESULT),
      );
      expect(await Promise.all(outcomes)).toEqual(['retried', 'completed', 'completed']);
    } finally {
      await world.harness.dataSource.query('ALTER TABLE video_jobs DROP CONSTRAINT refuse');
    }
    for (const { job } of others) expect(await world.errors(job)).toEqual([]);
    expect(await world.errors(refused!.job)).toEqual([expect.stringContaining('refuse')]);
  });

  it.each<[string, (outcome: JobOutcome) => JobOutcome]>([
    ['that is not a valid result', (outcome) => outcome],
    ['of a transaction that is not valid', (outcome) => async () => outcome as JobResult],
  ])(
    '%s fails the job at once, because another try would have the same result',
    async (_, made) => {
      const [run] = await claim();
      expect(await run!.resolve(made({ frameCount: -1 } as JobOutcome))).toBe('failed');
      expect(await world.errors(run!.job)).toEqual([
        expect.stringMatching(/resultUrl .*; frameCount /),
      ]);
    },
  );
});

/** @returns an outcome with own writes, and the number of its calls */
function writing(job: VideoJob, then: (call: number) => Promise<unknown>) {
  const calls: { count: number; manager?: EntityManager } = { count: 0 };
  const outcome = async (manager: EntityManager): Promise<JobResult> => {
    calls.count += 1;
    calls.manager = manager;
    await manager.query('INSERT INTO own_writes VALUES ($1, $2)', [job.jobId, job.runNumber]);
    await then(calls.count);
    return RESULT;
  };
  return { calls, outcome };
}

/** Makes each statement fail that ends a job, or that gives it the status. @returns a function that stops this */
async function sabotage(sqlState: string, status?: string): Promise<() => Promise<unknown>> {
  const which = status === undefined ? `<> 'processing'` : `= '${status}'`;
  const { dataSource: other } = world.harness;
  await other.query(`
    CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION USING ERRCODE = '${sqlState}', MESSAGE = 'sabotaged'; END $$;
    CREATE TRIGGER sabotage BEFORE UPDATE OF "status" ON video_jobs FOR EACH ROW
      WHEN (NEW."status" ${which}) EXECUTE FUNCTION sabotage()`);
  return () => other.query('DROP FUNCTION sabotage() CASCADE');
}

const tried = (): Promise<void> => until(() => worker.outage.isDown);

describe('a statement that the server could not execute', () => {
  const OUTCOMES: [string, (run: Run) => Promise<unknown>, object][] = [
    ['a result', (run) => run.resolve(RESULT), { status: 'completed' }],
    [
      'a result with own writes',
      (run) => run.resolve(writing(run.job, async () => {}).outcome),
      { status: 'completed' },
    ],
    ['a failure', (run) => run.end('throw'), { status: 'pending' }],
  ];
  it.each(
    ['57014', '55P03', '0A000', '53100', '25006', '28P01', 'XX000', 'P0001', '40001'].flatMap(
      (sqlState) => OUTCOMES.map((outcome) => [sqlState, ...outcome] as const),
    ),
  )('is tried again: %s, %s', async (sqlState, _, end, ended) => {
    const [run] = await claim();
    const repair = await sabotage(sqlState);
    const outcome = end(run!);
    // A conflict of transactions is not an outage, so nothing is logged.
    if (sqlState !== '40001') await tried();
    await repair();
    await outcome;
    expect(await world.job(run!.job)).toMatchObject({ ...ended, attempts: 1 });
    const isFailure = 'status' in ended && ended.status === 'pending';
    expect(await world.errors(run!.job)).toHaveLength(isFailure ? 1 : 0);
    expect(await world.notifications(run!.job)).toHaveLength(isFailure ? 0 : 1);
  });

  it('while the lease was lost: the run counts as lost, not as failed', async () => {
    const [run] = await claim();
    // A failure could be recorded now.
    const repair = await sabotage('57014', 'completed');
    try {
      const outcome = run!.resolve(RESULT);
      await tried();
      run!.lease.deadline = performance.now();
      expect(await outcome).toBe('lost');
    } finally {
      await repair();
    }
    expect(await world.job(run!.job)).toMatchObject({ status: 'processing', attempts: 1 });
    expect(await world.errors(run!.job)).toEqual([]);
  });
});

describe('a handler that changes its own job', () => {
  it.each<[string, (run: Run) => Promise<unknown>, string]>([
    ['completes it', (run) => run.resolve(RESULT), 'completed'],
    ['completes it with own writes', (run) => run.resolve(async () => RESULT), 'completed'],
    ['fails it', (run) => run.end('unrecoverable'), 'failed'],
    ['has it tried again', (run) => run.end('throw'), 'pending'],
    ['gives it back', (run) => run.release(), 'pending'],
  ])('%s all the same', async (_, end, status) => {
    const [run, other] = await claim(2);
    const { jobId } = run!.job;
    const changes = { jobId: other!.job.jobId, runNumber: 7, workerId: 'x', attempts: 1_000 };
    Object.assign(run!.job, changes);
    await end(run!);
    expect(await world.job({ jobId })).toMatchObject({ status, runNumber: 1 });
    expect(await world.job(other!.job)).toMatchObject({ status: 'processing' });
  });
});

describe('a transaction with own writes', () => {
  it('whose connection breaks in the middle is run again, in the same attempt', async () => {
    const [run] = await claim();
    const { calls, outcome } = writing(run!.job, async (call) => {
      if (call === 1) proxy.cut();
    });
    expect(await run!.resolve(outcome)).toBe('completed');
    expect(calls.count).toBe(2);
    expect(await world.ownWrites(run!.job)).toEqual([{ runNumber: 1 }]);
    expect(await world.errors(run!.job)).toEqual([]);
  });

  // These are the next steps of an application that has not noticed that the connection broke.
  const nextSteps: [string, (manager: EntityManager, job: VideoJob) => Promise<unknown>][] = [
    ['query', (manager) => manager.query('SELECT 1')],
    [
      "a repository's update",
      (manager, { jobId }) => manager.getRepository(VideoJob).update({ jobId }, { filename: 'b' }),
    ],
    [
      "a repository's save",
      async (manager) => {
        const user = { username: 'own', email: 'own@example.com', passwordHash: 'x' };
        await manager.getRepository(User).save(user);
      },
    ],
    ['find', (manager, { jobId }) => manager.findOneBy(VideoJob, { jobId })],
    [
      'a query builder',
      (manager) => manager.createQueryBuilder(VideoJob, 'j').select('j.jobId').getMany(),
    ],
    ['a nested transaction', (manager) => manager.transaction((inner) => inner.query('SELECT 1'))],
    ['a plain return', async () => {}],
    [
      'an error of its own',
      async (manager) => {
        await manager.query('SELECT 1').catch(() => {
          throw new Error('could not write');
        });
      },
    ],
  ];
  it.each(nextSteps)('whose idle connection broke is run again: %s', async (_, next) => {
    const [run] = await claim();
    const { calls, outcome } = writing(run!.job, async (call) => {
      if (call > 1) return;
      const { manager } = calls;
      proxy.cut();
      await until(() => manager?.queryRunner?.isReleased === true);
      await next(manager!, run!.job);
    });
    expect(await run!.resolve(outcome)).toBe('completed');
    expect(calls.count).toBe(2);
    expect(await world.ownWrites(run!.job)).toEqual([{ runNumber: 1 }]);
    expect(await world.errors(run!.job)).toEqual([]);
  });

  it('that the server ended because it was idle for too long (25P03) is run again', async () => {
    const [run] = await claim();
    const { calls, outcome } = writing(run!.job, async (call) => {
      if (call > 1) return;
      const { manager } = calls;
      await manager!.query(`SET LOCAL idle_in_transaction_session_timeout = '10ms'`);
      await until(() => manager?.queryRunner?.isReleased === true);
      await manager!.query('SELECT 1');
    });
    expect(await run!.resolve(outcome)).toBe('completed');
    expect(calls.count).toBe(2);
    expect(await world.errors(run!.job)).toEqual([]);
  });

  it('whose connection breaks each time: the run counts as lost in the end, not as failed', async () => {
    const [run] = await claim();
    const { calls, outcome } = writing(run!.job, async () => {
      const { manager } = calls;
      proxy.cut();
      await until(() => manager?.queryRunner?.isReleased === true);
    });
    // The waits take about 20 s in all.
    jest.spyOn(worker.outage, 'sleep').mockImplementation(() => setImmediate());
    expect(await run!.resolve(outcome)).toBe('lost');
    expect(calls.count).toBeGreaterThan(1);
    expect(await world.job(run!.job)).toMatchObject({ status: 'processing', attempts: 1 });
    expect(await world.errors(run!.job)).toEqual([]);
  });

  it('whose commit has no reply is not run again', async () => {
    const { dataSource: other } = world.harness;
    // The commit waits as long as another session holds an advisory lock.
    await other.query(`
      CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
      CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON own_writes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()`);
    const blocker = other.createQueryRunner();
    // The lock belongs to a transaction, because behind a pooler clients share sessions.
    await blocker.startTransaction();
    await blocker.query('SELECT pg_advisory_xact_lock(1)');
    try {
      const [run] = await claim();
      const { calls, outcome } = writing(run!.job, async () => {});
      const ended = run!.resolve(outcome);
      await until(async () => (await waitingForLocks()) === 1);
      proxy.cut();
      await blocker.rollbackTransaction();
      expect(await ended).toBe('completed');
      expect(calls.count).toBe(1);
      expect(await world.ownWrites(run!.job)).toHaveLength(1);
      expect(await world.notifications(run!.job)).toHaveLength(1);
    } finally {
      await blocker.release();
      await other.query('DROP FUNCTION wait() CASCADE');
    }
  });

  describe.each<[string, () => void, number]>([
    ['the server vanishes before it', () => proxy.freeze(), 2],
    ['its reply is lost', () => (proxy.mute = true), 1],
  ])('whose commit gets no answer because %s', (_, silence, runs) => {
    it('is given up, its connection too, and the job is completed once', async () => {
      worker = new Worker({ dataSource, replyTimeoutMs: 2_000 });
      const [run] = await claim();
      const warned = jest.spyOn(Logger.prototype, 'warn');
      let times = 0;
      subscribe(dataSource, {
        beforeTransactionCommit: () => {
          times += 1;
          if (times === 1) silence();
        },
      });
      const { calls, outcome } = writing(run!.job, async () => {});
      const ended = run!.resolve(outcome);
      await tried();
      expect(warned).toHaveBeenCalledWith(
        expect.stringContaining('the server did not reply to COMMIT within 2000 ms'),
      );
      // The open connections belong to a server that has gone.
      proxy.mute = false;
      proxy.cut();
      expect(await ended).toBe('completed');
      expect(calls.count).toBe(runs);
      expect(await world.ownWrites(run!.job)).toHaveLength(1);
      expect(await world.notifications(run!.job)).toHaveLength(1);
      expect(await world.errors(run!.job)).toEqual([]);
    });
  });

  it('that fails for another reason fails the run, and nothing is written', async () => {
    const [run] = await claim();
    const { calls, outcome } = writing(run!.job, () =>
      // fetch reports the error of another service in this form.
      Promise.reject(Object.assign(new Error('another service is down'), { code: 'ECONNREFUSED' })),
    );
    expect(await run!.resolve(outcome)).toBe('retried');
    expect(calls.count).toBe(1);
    expect(await world.ownWrites(run!.job)).toEqual([]);
    expect(await world.errors(run!.job)).toEqual(['another service is down']);
  });

  it('that loses the lease in the middle writes nothing', async () => {
    const [run] = await claim();
    const { outcome } = writing(run!.job, async () => {
      await world.lapse(run!.job);
      await world.harness.jobs.startJob(run!.job.jobId, { workerId: 'thief' });
      await worker.heartbeat();
      expect(run!.lease.abort.signal.aborted).toBe(true);
    });
    expect(await run!.resolve(outcome)).toBe('lost');
    expect(await world.ownWrites(run!.job)).toEqual([]);
    expect(await world.job(run!.job)).toMatchObject({ status: 'processing', workerId: 'thief' });
  });
});
