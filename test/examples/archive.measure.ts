// npm run bench:archive
//
// Measures how long pruneJobs takes to remove a million completed jobs and their notifications, with the archive of
// docs/beyond-one-machine.md and without it. The database is on a disk, with the settings of a server in production.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import { Client } from 'pg';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { FrameForgeDatabaseModule, JobService } from '../../src/index.js';
import { blocksOf } from '../readme/readme.blocks.js';

const JOBS = 1_000_000;
const ARCHIVE = String(
  blocksOf('docs/beyond-one-machine.md').find(({ kind }) => kind === 'sql')?.text,
);
const NO_ARCHIVE = `
  DROP TABLE IF EXISTS video_jobs_archive;
  DROP TRIGGER IF EXISTS archive_pruned_jobs ON video_jobs;
  DROP FUNCTION IF EXISTS archive_pruned_jobs`;
/** All jobs ended in October 2026, so the archive has them in one partition. */
const FILL = `
  TRUNCATE users CASCADE;
  SET session_replication_role = replica;
  INSERT INTO users (username, email, "passwordHash")
    SELECT 'u' || n, 'u' || n || '@example.com', 'x' FROM generate_series(0, 999) n;
  INSERT INTO video_jobs ("jobId", "userId", filename, status, "videoUrl", "resultUrl", "frameCount",
      "createdAt", "startedAt", "completedAt", "runNumber", attempts, progress)
    SELECT uuidv7(at - now()), "userId", n || '.mp4', 'completed', 's3://uploads/' || n || '.mp4',
      's3://frames/' || n || '.zip', 100, at, at + interval '1 s', at + interval '9 s', 1, 1, 100
    FROM generate_series(1, ${JOBS}) n
    CROSS JOIN LATERAL (SELECT timestamptz '2026-10-02 00:00Z' + n * interval '2.4 s') d(at)
    JOIN users ON username = 'u' || n % 1000;
  INSERT INTO notification_log ("notificationId", "jobId", "notificationType", "recipientEmail",
      "deliveryStatus", "sentAt", "runNumber", "deliveryNumber", "createdAt")
    SELECT uuidv7("completedAt" - now()), "jobId", 'success', 'ada@example.com',
      'sent', "completedAt", 1, 1, "completedAt" FROM video_jobs;
  SET session_replication_role = origin`;

const directory = mkdtempSync('/var/tmp/frameforge-archive-');
// The account of the server must be able to enter it.
chmodSync(directory, 0o755);
const server = await startEmbeddedPostgres({ dataDir: join(directory, 'data') });
const app = await NestFactory.createApplicationContext(
  FrameForgeDatabaseModule.forRoot({ url: server.url }),
  { logger: ['error'] },
);
const client = new Client({ connectionString: server.url });
await client.connect();
const say = (line: string): boolean => process.stdout.write(`${line}\n`);

for (const archive of [ARCHIVE, NO_ARCHIVE, ARCHIVE, NO_ARCHIVE]) {
  for (const statement of [NO_ARCHIVE, archive, FILL, 'VACUUM ANALYZE', 'CHECKPOINT']) {
    await client.query(statement);
  }
  const start = performance.now();
  const olderThan = new Date('2026-11-01T00:00:00Z');
  const removed = await app.get(JobService).pruneJobs({ olderThan, batchSize: 10_000 });
  const seconds = (performance.now() - start) / 1_000;
  const how = archive === ARCHIVE ? 'with the archive' : 'without it';
  say(`${removed} jobs ${how}: ${seconds.toFixed(1)} s, load ${loadavg()[0]?.toFixed(1)}`);
  if (archive !== ARCHIVE) continue;
  const { rows } = await client.query<{ count: string; size: string }>(
    `SELECT count(*), pg_size_pretty(pg_total_relation_size('video_jobs_archive_2026_10')) AS size
     FROM video_jobs_archive_2026_10`,
  );
  const dropped = performance.now();
  await client.query('DROP TABLE video_jobs_archive_2026_10');
  const ms = Math.round(performance.now() - dropped);
  say(`the partition: ${rows[0]?.count} rows, ${rows[0]?.size}; dropped in ${ms} ms`);
}
await client.end();
await app.close();
await server.stop();
rmSync(directory, { recursive: true, force: true });
