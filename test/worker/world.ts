import { Client } from 'pg';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';
import { onServer } from '../support/server.js';
import { until } from '../support/until.js';
import type { WorkerConfig } from './worker.process.js';
import { WorkerProcess } from './worker.process.js';

/** A database, a user, and the processes that work on it. */
export class World {
  private readonly workers: WorkerProcess[] = [];

  private constructor(
    readonly harness: Harness,
    private readonly userId: string,
  ) {}

  /** @param of - an existing database; default: a new one */
  static async open(harness?: Harness): Promise<World> {
    const h = harness ?? (await openHarness());
    await h.dataSource.query(
      `CREATE TABLE own_writes ("jobId" uuid PRIMARY KEY, "runNumber" integer)`,
    );
    return new World(h, (await h.user()).userId);
  }

  /** Starts a process. @returns when its application is up */
  async worker(
    config: Omit<WorkerConfig, 'url'> = {},
    url = this.harness.url,
  ): Promise<WorkerProcess> {
    const worker = new WorkerProcess({ url, ...config });
    this.workers.push(worker);
    await worker.next('ready');
    return worker;
  }

  /** Kills the processes that still run. */
  async endWorkers(): Promise<void> {
    for (const worker of this.workers.splice(0)) {
      worker.kill('SIGKILL');
      await worker.exit;
    }
  }

  /** Kills the processes that still run, and removes the jobs. */
  async clear(): Promise<void> {
    await this.endWorkers();
    await this.harness.dataSource.query('DELETE FROM video_jobs');
  }

  /** The inputs of the jobs. The file name of a job says what a worker does with it. */
  inputs(...filenames: string[]): { userId: string; filename: string; videoUrl: string }[] {
    return filenames.map((filename) => ({
      userId: this.userId,
      filename,
      videoUrl: 's3://videos/a.mp4',
    }));
  }

  /** Creates jobs in this process, which has no worker. */
  create(...filenames: string[]): Promise<VideoJob[]> {
    return this.harness.jobs.createJobs(this.inputs(...filenames));
  }

  job({ jobId }: { jobId: string }): Promise<VideoJob> {
    return this.harness.jobs.getJob(jobId);
  }

  /** @returns the job, once it is in a final state */
  async final(job: { jobId: string }): Promise<VideoJob> {
    await until(async () => ['completed', 'failed'].includes((await this.job(job)).status));
    return this.job(job);
  }

  async notifications({ jobId }: { jobId: string }): Promise<NotificationLog[]> {
    return (await this.harness.notifications.listNotifications({ jobId })).notifications;
  }

  async errors({ jobId }: { jobId: string }): Promise<string[]> {
    const errors = await this.harness.jobs.listAttemptErrors(jobId);
    return errors.map(({ errorMessage }) => errorMessage);
  }

  /** The application's own writes for a job. */
  ownWrites({ jobId }: { jobId: string }): Promise<{ runNumber: number }[]> {
    return this.harness.dataSource.query('SELECT "runNumber" FROM own_writes WHERE "jobId" = $1', [
      jobId,
    ]);
  }

  /** Listens to a channel, on a connection of its own. */
  async listen(channel: string): Promise<{ received: string[]; end(): Promise<void> }> {
    // LISTEN needs a session of the server.
    const client = new Client({ connectionString: onServer(this.harness.url) });
    const received: string[] = [];
    client.on('notification', ({ payload }) => received.push(payload ?? ''));
    await client.connect();
    await client.query(`LISTEN ${channel}`);
    return { received, end: () => client.end() };
  }

  /** Ends a lease, as if its worker had been away for a long time. */
  async lapse({ jobId }: { jobId: string }): Promise<void> {
    await this.harness.dataSource.query(
      `UPDATE video_jobs SET "availableAt" = now() - interval '1 s' WHERE "jobId" = $1`,
      [jobId],
    );
  }

  /** Gives the job to another worker, as after a long pause of its worker. */
  async steal({ jobId }: { jobId: string }): Promise<void> {
    // This is one statement, because a heartbeat extends a lease that is over and that no other worker has taken.
    await this.harness.dataSource.query(
      `UPDATE video_jobs SET "workerId" = 'thief', "runNumber" = "runNumber" + 1,
         attempts = attempts + 1, "availableAt" = now() + interval '1 minute' WHERE "jobId" = $1`,
      [jobId],
    );
  }

  /** Ends the processes, then the database. */
  async close(): Promise<void> {
    await this.clear();
    await this.harness.close();
  }
}
