import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { DRAIN_MS, MAX_ATTEMPTS } from './settings.js';

const LOST = 'acknowledged jobs that are not final';
/** Rules that must hold at the end: a name, and a query for the jobs or notifications that break the rule. */
const RULES: Record<string, string> = {
  [LOST]:
    'SELECT FROM acknowledged a LEFT JOIN video_jobs j USING ("jobId") ' +
    `WHERE j.status IS NULL OR j.status NOT IN ('completed', 'failed')`,
  'jobs without exactly one notification, of their last run and of what became of it': `
    SELECT FROM video_jobs j
    WHERE ARRAY(SELECT n."runNumber" || n."notificationType" FROM notification_log n
        WHERE n."jobId" = j."jobId")
      IS DISTINCT FROM ARRAY[j."runNumber"
        || CASE j.status WHEN 'completed' THEN 'success' WHEN 'failed' THEN 'failure' END]`,
  'cancellations that were acknowledged, of jobs that are not cancelled': `
    SELECT FROM cancelled c LEFT JOIN video_jobs j USING ("jobId") WHERE j."cancelledAt" IS NULL`,
  'completed jobs with the result of another run': `
    SELECT FROM video_jobs
    WHERE status = 'completed'
      AND ("frameCount" <> "runNumber" OR "resultUrl" <> 's3://frames/' || "jobId" || '.zip')`,
  'jobs whose own write is there although they did not complete, or is missing although they did': `
    SELECT FROM video_jobs j LEFT JOIN own_writes o USING ("jobId")
    WHERE (o."jobId" IS NOT NULL) <> (j.filename LIKE 'write:%' AND j.status = 'completed')
      OR o."runNumber" <> j."runNumber"`,
  'jobs that completed although they never work': `
    SELECT FROM video_jobs
    WHERE status = 'completed'
      AND (filename LIKE 'broken:%' OR filename LIKE 'unrecoverable:%')`,
  'jobs that failed with tries left, or without a reason for each try': `
    SELECT FROM video_jobs j
    WHERE status = 'failed' AND "cancelledAt" IS NULL
      AND (filename NOT LIKE 'unrecoverable:%' AND attempts < ${MAX_ATTEMPTS}
        OR (SELECT count(*) FROM job_attempt_errors e WHERE e."jobId" = j."jobId") < attempts)`,
  'errors of jobs whose handler had none': `
    SELECT FROM job_attempt_errors e JOIN video_jobs j USING ("jobId")
    WHERE e."errorMessage" NOT LIKE 'The worker was lost%'
      AND (j.filename LIKE 'plain:%'
        -- Its own statement may meet a timeout; that of the package may not fail its work.
        OR j.filename LIKE 'write:%' AND e."errorMessage" NOT LIKE 'canceling statement%')`,
  'notifications that are not sent, or were never received': `
    SELECT FROM notification_log n
    WHERE n."deliveryStatus" <> 'sent' OR n."sentAt" IS NULL
      OR NOT EXISTS (SELECT FROM inbox i WHERE i."notificationId" = n."notificationId")`,
};

const COUNTS = {
  acknowledged: 'SELECT count(*) FROM acknowledged',
  completed: `SELECT count(*) FROM video_jobs WHERE status = 'completed'`,
  failed: `SELECT count(*) FROM video_jobs WHERE status = 'failed'`,
  cancelled: `SELECT count(*) FROM video_jobs WHERE "cancelledAt" IS NOT NULL`,
  cancelledAtWork: `SELECT count(*) FROM video_jobs
    WHERE "cancelledAt" IS NOT NULL AND "startedAt" IS NOT NULL`,
  success: `SELECT count(*) FROM notification_log WHERE "notificationType" = 'success'`,
  failure: `SELECT count(*) FROM notification_log WHERE "notificationType" = 'failure'`,
  ownWrites: 'SELECT count(*) FROM own_writes',
  runs: 'SELECT sum("runNumber") FROM video_jobs',
  lostRuns: `SELECT count(*) FROM job_attempt_errors WHERE "errorMessage" LIKE 'The worker was lost%'`,
  failedRuns: `SELECT count(*) FROM job_attempt_errors WHERE "errorMessage" NOT LIKE 'The worker was lost%'`,
  received: 'SELECT count(*) FROM inbox',
  receivedTwice: 'SELECT count(*) - count(DISTINCT "notificationId") FROM inbox',
};

export type Counts = Record<keyof typeof COUNTS, number>;

/** The tables of the ledger, besides the tables of the package. */
export async function createLedger(dataSource: DataSource): Promise<void> {
  await dataSource.query('CREATE TABLE own_writes ("jobId" uuid PRIMARY KEY, "runNumber" integer)');
  await dataSource.query('CREATE TABLE inbox ("notificationId" uuid)');
  await dataSource.query('CREATE TABLE acknowledged ("jobId" uuid PRIMARY KEY)');
  await dataSource.query('CREATE TABLE cancelled ("jobId" uuid)');
}

/** Records acknowledged jobs. @param cancelled - jobs whose cancellation was acknowledged too */
export async function acknowledge(
  dataSource: DataSource,
  jobIds: string[],
  cancelled: string[] = [],
): Promise<void> {
  await dataSource.query('INSERT INTO acknowledged SELECT unnest($1::uuid[])', [jobIds]);
  await dataSource.query('INSERT INTO cancelled SELECT unnest($1::uuid[])', [cancelled]);
}

/** Removes all jobs, and their entries in the ledger. */
export async function clearLedger(dataSource: DataSource): Promise<void> {
  await dataSource.query('TRUNCATE video_jobs, own_writes, inbox, acknowledged, cancelled CASCADE');
}

/** Waits until no work is left. @returns false if that takes too long */
export async function drain(dataSource: DataSource): Promise<boolean> {
  for (const end = performance.now() + DRAIN_MS; performance.now() < end;) {
    const [row] = await dataSource.query<{ count: number }[]>(
      `SELECT ((SELECT count(*) FROM video_jobs WHERE status IN ('pending', 'processing'))
         + (SELECT count(*) FROM notification_log WHERE "deliveryStatus" = 'pending'))::integer AS count`,
    );
    if (row?.count === 0) return true;
    await sleep(200);
  }
  return false;
}

/** The result of the ledger at the end. */
export interface Balance {
  readonly counts: Counts;
  /** Acknowledged jobs that did not end. */
  readonly lost: number;
  /** How many other rows break a rule. */
  readonly mismatched: number;
  /** Each broken rule, and how often it is broken. */
  readonly faults: readonly string[];
}

/** Counts all rows, and the rows that break a rule. */
export async function readLedger(dataSource: DataSource): Promise<Balance> {
  const count = async (query: string): Promise<number> => {
    const [row] = await dataSource.query<{ count: number }[]>(
      `SELECT COALESCE((${query}), 0)::integer AS count`,
    );
    return row?.count ?? 0;
  };
  const counts = {} as Counts;
  for (const [name, query] of Object.entries(COUNTS)) {
    counts[name as keyof Counts] = await count(query);
  }
  let lost = 0;
  let mismatched = 0;
  const faults: string[] = [];
  for (const [name, query] of Object.entries(RULES)) {
    const broken = await count(`SELECT count(*) FROM (${query}) AS broken`);
    if (name === LOST) lost += broken;
    else mismatched += broken;
    if (broken > 0) faults.push(`${broken} ${name}`);
  }
  return { counts, lost, mismatched, faults };
}

/** A job whose worker was killed, and that another worker then claimed. Times in ms. */
export interface Recovery {
  readonly killedAt: number;
  readonly claimedAt: number;
}

/** The jobs of killed workers. Worker ids hold the pid: `host:pid:uuid`. */
export async function recoveries(
  dataSource: DataSource,
  kills: ReadonlyMap<number, number>,
): Promise<Recovery[]> {
  const lost = await dataSource.query<{ workerId: string; createdAt: Date }[]>(
    `SELECT "workerId", "createdAt" FROM job_attempt_errors
     WHERE "errorMessage" LIKE 'The worker was lost%'`,
  );
  return lost.flatMap(({ workerId, createdAt }) => {
    const killedAt = kills.get(Number(workerId.split(':').at(-2)));
    return killedAt === undefined ? [] : [{ killedAt, claimedAt: createdAt.getTime() }];
  });
}
