import type { DataSource } from 'typeorm';
import { openDataSource } from '../../src/migrations/open-data-source.js';
import { resolveOptions } from '../../src/database.options.js';
import { JobService } from '../../src/jobs/job.service.js';
import { NotificationService } from '../../src/notifications/notification.service.js';
import type { NotificationLog, VideoJob } from '../../src/schema/entities/index.js';
import type { Harness } from '../support/harness.js';

export const HOUR_MS = 3_600_000;

export const video = { filename: 'cat.mp4', videoUrl: 's3://videos/cat.mp4' };
export const result = { resultUrl: 's3://frames/cat.zip', frameCount: 42 };

/** The services on their own connections, like those of another process. */
export interface Peer {
  readonly dataSource: DataSource;
  readonly jobs: JobService;
  readonly notifications: NotificationService;
  close(): Promise<void>;
}

export async function openPeer(url: string): Promise<Peer> {
  const { dataSource: options, boot } = resolveOptions({ url });
  const dataSource = await openDataSource(options, boot, { log: () => {}, warn: () => {} });
  return {
    dataSource,
    jobs: new JobService(dataSource),
    notifications: new NotificationService(dataSource),
    close: () => dataSource.destroy(),
  };
}

/** Makers of jobs in each state, for a user of their own unless one is given. */
export function makers(h: Harness) {
  const pending = async (userId?: string): Promise<VideoJob> =>
    h.jobs.createJob({ ...video, userId: userId ?? (await h.user()).userId });
  /** In run 1, leased to `workerId`. */
  const leased = async (workerId = 'worker-1', userId?: string): Promise<VideoJob> =>
    h.jobs.startJob((await pending(userId)).jobId, { leaseMs: HOUR_MS, workerId });
  /** In run 1, without a lease. */
  const unleased = async (): Promise<VideoJob> => h.jobs.startJob((await pending()).jobId);
  const completed = async (): Promise<VideoJob> =>
    (await h.jobs.completeJob(await leased(), result)).job;
  const failed = async (): Promise<VideoJob> =>
    (await h.jobs.failJob(await leased(), { errorMessage: 'no video stream' })).job;
  return { pending, leased, unleased, completed, failed };
}

/** Ends a lease, or the wait for the next try, as if its time had passed. */
export async function lapse(dataSource: DataSource, ...jobs: { jobId: string }[]): Promise<void> {
  await dataSource.query(
    `UPDATE video_jobs SET "availableAt" = "availableAt" - interval '1 day'
     WHERE "jobId" = ANY($1::uuid[])`,
    [jobs.map(({ jobId }) => jobId)],
  );
}

/** Ends the lease of a delivery. */
export async function lapseDelivery(
  dataSource: DataSource,
  { notificationId }: { notificationId: string },
): Promise<void> {
  await dataSource.query(
    `UPDATE notification_log SET "availableAt" = "availableAt" - interval '1 day'
     WHERE "notificationId" = $1`,
    [notificationId],
  );
}

/** Returns the result of a call that must wait for no lock. If it waits, it fails with an error and does not hang. */
export async function withoutWaiting<T>(dataSource: DataSource, call: Promise<T>): Promise<T> {
  const ended = call.then(
    () => 'ended' as const,
    () => 'ended' as const,
  );
  for (;;) {
    const waiting: Promise<unknown[]> = dataSource.query(
      `SELECT pid FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    const state = await Promise.race([ended, waiting]);
    if (state === 'ended') return call;
    if (state.length > 0) throw new Error('The call waits for a lock.');
  }
}

/** A row of the ledger: the state of a job, and the notification of its current run. */
export interface LedgerRow {
  readonly status: string;
  readonly notifications: string[];
  readonly jobs: number;
}

/** Jobs by status and by the notifications of their current run. */
export async function ledger(dataSource: DataSource, userIds?: string[]): Promise<LedgerRow[]> {
  return dataSource.query(
    `SELECT status, notifications, count(*)::integer AS jobs
     FROM (
       SELECT j.status, ARRAY(
           SELECT n."notificationType"::text FROM notification_log n
           WHERE n."jobId" = j."jobId" AND n."runNumber" = j."runNumber"
         ) AS notifications
       FROM video_jobs j
       WHERE $1::uuid[] IS NULL OR j."userId" = ANY($1::uuid[])
     ) AS job
     GROUP BY status, notifications
     ORDER BY status, notifications`,
    [userIds ?? null],
  );
}

/**
 * Describes each violation of rule 1; empty if the ledger is right. The rule holds only for jobs that the services
 * have finished, and not for jobs that another service has finished by its own SQL.
 */
export async function violations(dataSource: DataSource): Promise<string[]> {
  const rows: { violation: string }[] = await dataSource.query(
    `SELECT format('job %s is %s in run %s, but the notifications of that run are %s',
         j."jobId", j.status, j."runNumber", reported) AS violation
     FROM video_jobs j
     CROSS JOIN LATERAL (
       SELECT ARRAY(SELECT n."notificationType"::text FROM notification_log n
         WHERE n."jobId" = j."jobId" AND n."runNumber" = j."runNumber") AS reported
     ) AS n
     WHERE reported <> CASE j.status
       WHEN 'completed' THEN '{success}'
       WHEN 'failed' THEN '{failure}'
       -- retryJob keeps the earlier run's notification, until the next run begins.
       WHEN 'pending' THEN array_remove(reported, 'success')
       ELSE '{}' END::text[]
     UNION ALL
     SELECT format('a %s of run %s is logged, but job %s is %s in run %s',
       n."notificationType", n."runNumber", j."jobId", j.status, j."runNumber")
     FROM notification_log n JOIN video_jobs j USING ("jobId")
     WHERE n."runNumber" > j."runNumber"
        OR (n."notificationType" = 'success'
          AND (j.status <> 'completed' OR n."runNumber" <> j."runNumber"))`,
  );
  return rows.map(({ violation }) => violation);
}

/** Reads the row from the database itself, without the services. */
export async function stored(dataSource: DataSource, jobId: string): Promise<VideoJob> {
  const [row] = await dataSource.query(`SELECT * FROM video_jobs WHERE "jobId" = $1`, [jobId]);
  return row as VideoJob;
}

export async function notificationsOf(
  dataSource: DataSource,
  jobId: string,
): Promise<NotificationLog[]> {
  return dataSource.query(
    `SELECT * FROM notification_log WHERE "jobId" = $1 ORDER BY "runNumber", "createdAt"`,
    [jobId],
  );
}
