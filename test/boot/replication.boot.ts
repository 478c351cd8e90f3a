import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataSource } from 'typeorm';
import type { EmbeddedPostgres } from '../../src/embedded/index.js';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { InvalidInputError, JobNotFoundError } from '../../src/errors.js';
import { JobService } from '../../src/jobs/job.service.js';
import { User } from '../../src/schema/entities/index.js';
import { Boot, failedBoot } from '../connection/boot.js';
import { query } from '../support/query.js';
import { otherDatabase } from '../support/server.js';
import { until } from '../support/until.js';

const directory = mkdtempSync(join(tmpdir(), 'frameforge-replication-'));
chmodSync(directory, 0o711);
const [PRIMARY, REPLICA] = ['primary', 'replica'].map((name) => join(directory, name)) as [
  string,
  string,
];

let primary: EmbeddedPostgres;
let replica: EmbeddedPostgres;
let dataSource: DataSource;
let jobs: JobService;
let user: User;
beforeAll(async () => {
  // A streaming replica begins as a copy of its primary.
  await (await startEmbeddedPostgres({ dataDir: PRIMARY })).stop();
  mkdirSync(REPLICA);
  execFileSync('cp', ['-a', join(PRIMARY, 'pgdata'), REPLICA]);
  writeFileSync(join(REPLICA, 'pgdata', 'standby.signal'), '');
  primary = await startEmbeddedPostgres({ dataDir: PRIMARY });
  replica = await startEmbeddedPostgres({
    dataDir: REPLICA,
    settings: { primary_conninfo: otherDatabase(primary.url, 'postgres') },
  });
  dataSource = await new Boot().open({
    replication: { master: { url: primary.url }, slaves: [{ url: replica.url }] },
  });
  jobs = new JobService(dataSource);
  const users = dataSource.getRepository(User);
  user = await users.save(users.create({ username: 'ann', email: 'a@x.org', passwordHash: 'x' }));
});
afterAll(async () => {
  await dataSource.destroy();
  await replica.stop();
  await primary.stop();
  rmSync(directory, { recursive: true });
});

const createJob = () =>
  jobs.createJob({ userId: user.userId, filename: 'a.mp4', videoUrl: 's3://b/a' });

describe('a primary with a streaming replica', () => {
  it('migrates the primary, and the replica receives the tables from it', async () => {
    await until(async () => {
      const [row] = await query(replica.url, `SELECT to_regclass('job_attempt_errors') AS last`);
      return row?.['last'] !== null;
    });
    const [row] = await query(replica.url, 'SELECT pg_is_in_recovery() AS standby');
    expect(row).toEqual({ standby: true });
  });

  it('reads from the replica when asked, and only then', async () => {
    const { jobId: old } = await createJob();
    await until(() =>
      jobs.getJob(old, { replica: true }).then(
        () => true,
        () => false,
      ),
    );
    // From here on the replica receives no changes.
    await query(replica.url, 'SELECT pg_wal_replay_pause()');
    await until(async () => {
      const [row] = await query(replica.url, 'SELECT pg_get_wal_replay_pause_state() AS state');
      return row?.['state'] === 'paused';
    });
    const { jobId } = await createJob();
    await expect(jobs.getJob(jobId, { replica: true })).rejects.toBeInstanceOf(JobNotFoundError);
    expect(await jobs.getJob(jobId)).toMatchObject({ jobId });
    const listed = async (options?: { replica: boolean }): Promise<string[]> =>
      (await jobs.listJobs({}, options)).jobs.map((job) => job.jobId);
    expect(await listed({ replica: true })).toEqual([old]);
    expect(await listed()).toEqual([jobId, old]);
    expect(await listed({ replica: false })).toEqual([jobId, old]);
    expect(await jobs.countJobs({}, { replica: true })).toMatchObject({ pending: 1 });
    expect(await jobs.countJobs({ userId: user.userId }, { replica: true })).toMatchObject({
      pending: 1,
    });
    expect(await jobs.countJobs()).toMatchObject({ pending: 2 });
    await query(replica.url, 'SELECT pg_wal_replay_resume()');
    await until(async () => (await listed({ replica: true })).length === 2);
  });

  it('writes to the primary, always', async () => {
    // On the replica, each of these would fail: it is read-only.
    await createJob();
    const [first, second, third] = await jobs.claimJobs({ workerId: 'w', limit: 3 });
    if (!first || !second || !third) throw new Error('three jobs were created');
    await jobs.extendLeases([first], { leaseMs: 60_000 });
    await jobs.completeJob(first, { resultUrl: 's3://b/r', frameCount: 1 });
    await jobs.failJob(second, { errorMessage: 'no' });
    await jobs.retryJob(second.jobId);
    await jobs.releaseJob(third);
    await jobs.startJob(third.jobId);
    expect(await jobs.countJobs()).toMatchObject({ completed: 1, pending: 1, processing: 1 });
  });

  it('refuses to read from a replica within a transaction', async () => {
    await dataSource.transaction(async (manager) => {
      const refusal = await jobs
        .countJobs({}, { manager, replica: true })
        .catch((error: unknown) => error);
      expect(refusal).toBeInstanceOf(InvalidInputError);
      expect((refusal as Error).message).toContain(
        'options.replica cannot go together with manager, whose transaction is on the primary',
      );
    });
  });

  it('reads from the primary where there is no replica', async () => {
    const alone = await new Boot().open({ url: primary.url });
    expect(await new JobService(alone).countJobs({}, { replica: true })).toEqual(
      await jobs.countJobs(),
    );
    await alone.destroy();
  });

  it('leaves nothing open when one of them cannot be reached', async () => {
    const count = async (): Promise<unknown> =>
      (
        await query(
          replica.url,
          `SELECT count(*)::int AS n FROM pg_stat_activity
           WHERE application_name = 'half' AND datname = current_database()`,
        )
      )[0]?.['n'];
    const nowhere = new URL(primary.url);
    nowhere.port = '1';
    const { error } = await failedBoot({
      replication: { master: { url: nowhere.href }, slaves: [{ url: replica.url }] },
      applicationName: 'half',
      connectRetryMs: 0,
    });
    expect(error.message).toMatch(
      /^Booting on 127\.0\.0\.1:1\/frameforge could not reach the database: connect ECONNREFUSED 127\.0\.0\.1:1\./,
    );
    // A session may end a moment later than its connection.
    await until(async () => (await count()) === 0);
  });
});
