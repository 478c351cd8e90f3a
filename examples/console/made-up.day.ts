import type { DataSource } from 'typeorm';

/** The name of a file that would run as a script if the console did not show it as text. */
export const NASTY = '<img src=x onerror=alert(1)>.mp4';

/** How much work a day has. */
export interface Day {
  readonly jobs: number;
}

/**
 * Fills an empty database with a day of made-up work: users, jobs in all states, the errors of their runs,
 * their notifications, and the reports of three workers.
 */
export async function makeUpADay(dataSource: DataSource, { jobs }: Day): Promise<void> {
  await dataSource.transaction(async (manager) => {
    const { schema } = dataSource.options as { schema?: string };
    if (schema !== undefined) {
      await manager.query(`SELECT set_config('search_path', $1, true)`, [schema]);
    }
    // The figures are the same in each run.
    await manager.query('SELECT setseed(0.42)');
    await manager.query(
      `INSERT INTO users (username, email, "passwordHash")
       SELECT 'user' || i, 'user' || i || '@example.com', 'none' FROM generate_series(1, 40) AS i`,
    );
    await manager.query(
      `WITH owner AS MATERIALIZED (SELECT array_agg("userId" ORDER BY username) AS ids FROM users),
       made AS (
         SELECT i, random() AS r, now() - interval '110 s' - (random() ^ 1.5) * interval '1 day' AS at,
           interval '1 s' * (0.2 + random() * 8) AS waited, interval '1 s' * (4 + random() ^ 3 * 90) AS ran
         FROM generate_series(1, $1::integer) AS i
       ), staged AS (
         SELECT made.*, CASE WHEN r < 0.035 THEN 'failed' WHEN r < 0.055 THEN 'pending'
           WHEN r < 0.058 THEN 'processing' ELSE 'completed' END AS status FROM made
       ), placed AS (
         SELECT staged.*, CASE status WHEN 'pending' THEN now() - random() * interval '6 min'
           WHEN 'processing' THEN now() - interval '20 s'
           WHEN 'failed' THEN at - interval '3 min' ELSE at END AS created FROM staged
       )
       INSERT INTO video_jobs ("userId", filename, "videoUrl", status, "createdAt", "startedAt",
         "completedAt", "availableAt", "runNumber", attempts, "workerId", progress, "progressMessage",
         "resultUrl", "frameCount", "errorMessage", parameters)
       SELECT ids[1 + (i * 7) % 40],
         CASE WHEN i = 77 THEN $2 ELSE (ARRAY['holiday', 'birthday', 'match', 'lecture', 'drone', 'cat'])[1 + i % 6]
           || '-' || i || '.mp4' END,
         's3://videos/' || i || '.mp4', status, created,
         CASE WHEN status <> 'pending' THEN CASE status WHEN 'processing' THEN created ELSE at END + waited END,
         CASE WHEN status IN ('completed', 'failed') THEN at + waited + ran END,
         CASE status WHEN 'processing' THEN now() + interval '5 min' ELSE created END,
         CASE status WHEN 'pending' THEN 0 WHEN 'failed' THEN 3 ELSE 1 END,
         CASE status WHEN 'pending' THEN 0 WHEN 'failed' THEN 3 ELSE 1 END,
         CASE status WHEN 'processing' THEN 'extractor-' || 1 + i % 3 END,
         CASE status WHEN 'processing' THEN (i % 100) WHEN 'completed' THEN 100 END,
         CASE status WHEN 'processing' THEN 'frame ' || i END,
         CASE status WHEN 'completed' THEN 'https://frames.example/' || i || '.zip' END,
         CASE status WHEN 'completed' THEN 100 + i % 900 END,
         CASE status WHEN 'failed' THEN (ARRAY['The file has no video stream.',
           'ENOSPC: no space left on device, write', 'The download ended after 30 s without an answer.'])[1 + i % 3] END,
         CASE WHEN i % 5 = 0 THEN '{"everySeconds": 2, "format": "jpeg"}'::jsonb END
       FROM owner, placed`,
      [jobs, NASTY],
    );
    await manager.query(
      `INSERT INTO job_attempt_errors ("jobId", "runNumber", "workerId", "errorMessage", "createdAt")
       SELECT "jobId", run, 'extractor-' || run, "errorMessage", CASE run WHEN 3 THEN "completedAt" ELSE "startedAt" - (3 - run) * interval '40 s' END
       FROM video_jobs, generate_series(1, 3) AS run WHERE status = 'failed'`,
    );
    await manager.query(
      // The ids are in the order of time, like those of the services.
      `INSERT INTO notification_log ("notificationId", "jobId", "notificationType", "recipientEmail", "runNumber",
         "deliveryStatus", "createdAt", "availableAt", "sentAt", "deliveryNumber", "retryCount", "errorMessage")
       SELECT (lpad(to_hex((EXTRACT(EPOCH FROM j."completedAt") * 1000)::bigint), 12, '0') || '7'
           || substr(md5(j."jobId"::text), 1, 3) || '8' || substr(md5(j."jobId"::text), 4, 15))::uuid,
         j."jobId", CASE j.status WHEN 'failed' THEN 'failure' ELSE 'success' END, u.email, j."runNumber",
         s.status, j."completedAt", j."completedAt", CASE s.status WHEN 'sent' THEN j."completedAt" + interval '2 s' END,
         CASE s.status WHEN 'failed' THEN 10 WHEN 'sent' THEN 1 ELSE 0 END,
         CASE s.status WHEN 'failed' THEN 10 ELSE 0 END,
         CASE s.status WHEN 'failed' THEN '550 5.1.1 The mailbox does not exist.' END
       FROM video_jobs j JOIN users u USING ("userId")
       CROSS JOIN LATERAL (SELECT CASE WHEN abs(hashtext(j."jobId"::text)) % 100 < 2 THEN 'failed'
         WHEN abs(hashtext(j."jobId"::text)) % 100 < 3 THEN 'pending' ELSE 'sent' END) AS s(status)
       WHERE j.status IN ('completed', 'failed')`,
    );
    await manager.query(
      `INSERT INTO worker_reports ("workerId", minute, "startedAt", places, running, completed, failed, retried,
         delivered, undelivered, "waitedMs", "waitedHistogram", "ranMs", "ranHistogram")
       SELECT 'extractor-' || w, date_trunc('minute', now()) - m * interval '1 minute', now() - interval '7 days',
         4, 1 + (m + w) % 4, c, CASE WHEN random() < 0.12 THEN 1 ELSE 0 END,
         CASE WHEN random() < 0.2 THEN 1 ELSE 0 END, c, CASE WHEN random() < 0.05 THEN 1 ELSE 0 END,
         c * 2600, array_fill(0, ARRAY[10]) || ARRAY[c / 2, c - c / 2 - c / 8, c / 8],
         c * 14000, array_fill(0, ARRAY[12]) || ARRAY[c / 3, c - c / 3 - c / 6, c / 6]
       FROM generate_series(1, 3) AS w, generate_series(0, 10079) AS m
       CROSS JOIN LATERAL (SELECT round(3 + 2 * sin((extract(epoch FROM now()) / 60 - m) / 229)
         + 2.5 * random() + w)::integer AS c) AS work
`,
    );
    await manager.query('ANALYZE');
  });
}
