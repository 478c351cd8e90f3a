import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { DatabaseUnavailableError } from '../../src/errors.js';
import { NotificationType } from '../../src/schema/entities/index.js';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { Proxy } from '../support/proxy.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';
import { HOUR_MS, lapse, makers, openPeer, result, video, violations } from './fixtures.js';
import type { Peer } from './fixtures.js';

// Here, the connection of a call breaks after the write and before the reply.

let h: Harness;
let proxy: Proxy;
let peer: Peer;
let holder: Client;
let make: ReturnType<typeof makers>;
beforeAll(async () => {
  h = await openHarness();
  make = makers(h);
  proxy = await Proxy.start(h.url);
  peer = await openPeer(proxy.url);
  // This connects to the server itself, because a pooler gives the next statement another session.
  holder = new Client({ connectionString: onServer(h.url) });
  await holder.connect();
  // While this lock is held, a statement that has written a row waits.
  await holder.query(`
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_advisory_xact_lock_shared(1);
        RETURN NULL;
      END $$`);
  for (const table of ['video_jobs', 'notification_log']) {
    await holder.query(`CREATE TRIGGER hold AFTER INSERT OR UPDATE ON ${table}
      FOR EACH ROW EXECUTE FUNCTION hold()`);
  }
});
afterAll(async () => {
  await holder.end();
  await peer.close();
  await proxy.stop();
  await h.close();
});
beforeEach(() => h.dataSource.query('DELETE FROM users'));

/** The backends that wait for the lock. */
async function held(): Promise<number[]> {
  const { rows } = await holder.query<{ pid: number }>(
    `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  return rows.map(({ pid }) => pid);
}

/** Makes a call, runs a fault after the call has written and before it ends, and returns the error of the call. */
async function interrupted(
  call: () => Promise<unknown>,
  interrupt: () => Promise<void>,
): Promise<unknown> {
  await holder.query('SELECT pg_advisory_lock(1)');
  try {
    const outcome = call().then(
      () => 'it was done',
      (error: unknown) => error,
    );
    await until(async () => (await held()).length > 0);
    await interrupt();
    return await outcome;
  } finally {
    await holder.query('SELECT pg_advisory_unlock(1)');
  }
}

const terminate = async (): Promise<void> => {
  const pids = await held();
  for (const pid of pids) await holder.query('SELECT pg_terminate_backend($1)', [pid]);
  // A backend tells its client before it undoes its writes. Until then the rows are locked, and a claim passes over them.
  await until(async () => {
    const { rows } = await holder.query('SELECT FROM pg_stat_activity WHERE pid = ANY($1)', [pids]);
    return rows.length === 0;
  });
};

const loseReply = async (): Promise<void> => {
  proxy.cut();
};

/** All rows of the database. */
async function everything(): Promise<unknown> {
  const { rows } = await holder.query(
    `SELECT (SELECT json_agg(j ORDER BY "jobId") FROM video_jobs j) AS jobs,
       (SELECT json_agg(n ORDER BY "notificationId") FROM notification_log n) AS notifications,
       (SELECT json_agg(e ORDER BY "jobId") FROM job_attempt_errors e) AS errors`,
  );
  return rows[0];
}

type Call = (options?: object) => Promise<unknown>;

const unreported = async (): Promise<VideoJob> => {
  const job = await make.completed();
  await h.dataSource.query('DELETE FROM notification_log');
  return job;
};
const delivery = async (): Promise<NotificationLog> => {
  await make.completed();
  const [claimed] = await h.notifications.claimNotifications({ leaseMs: HOUR_MS });
  return claimed as NotificationLog;
};
const input = async () => ({ ...video, userId: (await h.user()).userId });

/** Methods that join a transaction. Each call is prepared and can be repeated. */
const JOINING: Record<string, () => Promise<Call>> = {
  createJob: async () => {
    const job = await input();
    return (o) => peer.jobs.createJob(job, o);
  },
  'createJob with a jobId': async () => {
    const job = { ...(await input()), jobId: randomUUID() };
    return (o) => peer.jobs.createJob(job, o);
  },
  'createJobs with jobIds': async () => {
    const jobs = [
      { ...(await input()), jobId: randomUUID() },
      { ...(await input()), jobId: randomUUID() },
    ];
    return (o) => peer.jobs.createJobs(jobs, o);
  },
  completeJob: async () => {
    const job = await make.leased();
    return (o) => peer.jobs.completeJob(job, result, o);
  },
  completeJobs: async () => {
    const jobs = [await make.leased(), await make.leased()];
    return (o) =>
      peer.jobs.completeJobs(
        jobs.map((job) => ({ job, result })),
        o,
      );
  },
  failJob: async () => {
    const job = await make.leased();
    return (o) => peer.jobs.failJob(job, { errorMessage: 'x' }, o);
  },
  'failJob with a retry': async () => {
    const job = await make.leased();
    return (o) => peer.jobs.failJob(job, { errorMessage: 'x', retryInMs: 0 }, o);
  },
  releaseJob: async () => {
    const job = await make.leased();
    return (o) => peer.jobs.releaseJob(job, o);
  },
  retryJob: async () => {
    const { jobId } = await make.failed();
    return (o) => peer.jobs.retryJob(jobId, o);
  },
  logNotification: async () => {
    const { jobId } = await unreported();
    const log = { jobId, notificationType: NotificationType.SUCCESS };
    return (o) => peer.notifications.logNotification(log, o);
  },
  markSent: async () => {
    const claimed = await delivery();
    return (o) => peer.notifications.markSent(claimed, o);
  },
  markFailed: async () => {
    const claimed = await delivery();
    return (o) => peer.notifications.markFailed(claimed, { errorMessage: 'x' }, o);
  },
};

const ALONE: Record<string, () => Promise<Call>> = {
  startJob: async () => {
    const { jobId } = await make.pending();
    return () => peer.jobs.startJob(jobId, { leaseMs: HOUR_MS });
  },
  claimJobs: async () => {
    await make.pending();
    return () => peer.jobs.claimJobs();
  },
  'claimJobs of what has no try left': async () => {
    await lapse(h.dataSource, await make.leased());
    return () => peer.jobs.claimJobs({ maxAttempts: 1 });
  },
  extendLeases: async () => {
    const job = await make.leased();
    return () => peer.jobs.extendLeases([job], { leaseMs: 2 * HOUR_MS });
  },
  claimNotifications: async () => {
    await make.completed();
    return () => peer.notifications.claimNotifications();
  },
};

describe.each(Object.entries({ ...JOINING, ...ALONE }))('%s', (_, prepare) => {
  it('leaves nothing when its backend is terminated after its writes, and can be repeated', async () => {
    const call = await prepare();
    const before = await everything();
    expect(await interrupted(call, terminate)).toBeInstanceOf(DatabaseUnavailableError);
    expect(await everything()).toEqual(before);
    await call();
    expect(await everything()).not.toEqual(before);
    expect(await violations(h.dataSource)).toEqual([]);
  });
});

describe.each(Object.entries(JOINING))("%s in a caller's transaction", (_, prepare) => {
  it('ends the transaction when its backend is terminated', async () => {
    const call = await prepare();
    const { userId } = await h.user();
    const before = await everything();
    const transaction = () =>
      peer.dataSource.transaction(async (manager) => {
        await manager.query(`UPDATE users SET username = 'new' WHERE "userId" = $1`, [userId]);
        await call({ manager });
      });
    expect(await interrupted(transaction, terminate)).toBeInstanceOf(DatabaseUnavailableError);
    expect(await everything()).toEqual(before);
    await transaction();
    expect(await everything()).not.toEqual(before);
  });

  it('reports to later calls in that transaction that the connection is gone', async () => {
    const call = await prepare();
    const before = await everything();
    const errors: unknown[] = [];
    const transaction = () =>
      peer.dataSource.transaction(async (manager) => {
        const first: unknown = await call({ manager }).catch((error: unknown) => error);
        const second: unknown = await call({ manager }).catch((error: unknown) => error);
        errors.push(first, second);
      });
    await interrupted(transaction, terminate);
    expect(errors).toEqual([
      expect.any(DatabaseUnavailableError),
      expect.any(DatabaseUnavailableError),
    ]);
    expect(await everything()).toEqual(before);
  });
});

/** Returns the result of a repeated call. By then, the server has finished the first call. */
async function repeated(call: Call): Promise<unknown> {
  const before = await everything();
  expect(await interrupted(call, loseReply)).toBeInstanceOf(DatabaseUnavailableError);
  await until(async () => JSON.stringify(await everything()) !== JSON.stringify(before));
  const after = await everything();
  const reply: unknown = await call().catch((error: unknown) => error);
  expect(await everything()).toEqual(after);
  expect(await violations(h.dataSource)).toEqual([]);
  return reply;
}

describe('a write that succeeded, but whose reply was lost', () => {
  it.each(['createJob with a jobId', 'logNotification'])(
    'is returned by a repeated %s',
    async (method) => {
      const reply = await repeated(await JOINING[method]!());
      expect(reply).not.toBeInstanceOf(Error);
    },
  );

  it.each([
    ['completeJob', 'LEASE_LOST', { status: 'completed', runNumber: 1 }],
    ['failJob', 'LEASE_LOST', { status: 'failed', runNumber: 1 }],
    ['failJob with a retry', 'LEASE_LOST', { status: 'pending', runNumber: 1 }],
    ['releaseJob', 'LEASE_LOST', { status: 'pending', runNumber: 1 }],
    ['retryJob', 'INVALID_JOB_TRANSITION', { status: 'pending', runNumber: 1 }],
    ['markSent', 'LEASE_LOST', { status: 'sent', deliveryNumber: 1 }],
    ['markFailed', 'LEASE_LOST', { status: 'failed', deliveryNumber: 1 }],
  ])('can be recognized from the refusal of a repeated %s', async (method, code, state) => {
    const reply = await repeated(await JOINING[method]!());
    expect(reply).toMatchObject({ code, ...state });
  });
});
