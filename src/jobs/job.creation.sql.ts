import { arrays, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { job } from './job.columns.js';

/**
 * $1 jobId, $2 userId, $3 filename, $4 videoUrl, $5 availableAt. No row: the user is unknown, or the
 * job exists. Selecting from `users` under a lock refuses an unknown user without the foreign key's
 * error, which would abort the caller's transaction.
 */
export const createJob = (t: Tables): Statement => sql`
  INSERT INTO ${t.videoJobs} AS j
    ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt")
  SELECT $1::uuid, u."userId", $3::varchar, $4::text, ${NOW}, GREATEST($5::timestamptz, ${NOW})
  FROM ${t.users} u
  WHERE u."userId" = $2::uuid
  FOR KEY SHARE OF u
  ON CONFLICT ("jobId") DO NOTHING
  RETURNING ${job}`;

/**
 * The same, as arrays, for jobs that have nothing to do with each other: no row for those whose user
 * is unknown, or is locked by somebody who changes or deletes it.
 */
export const createJobsTogether = (t: Tables): Statement => sql`
  INSERT INTO ${t.videoJobs} AS j
    ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt")
  SELECT i."jobId", u."userId", i."filename", i."videoUrl", ${NOW},
    GREATEST(i."availableAt", ${NOW})
  FROM ${arrays('uuid', 'uuid', 'varchar', 'text', 'timestamptz')}
    AS i("jobId", "userId", "filename", "videoUrl", "availableAt")
  JOIN ${t.users} u ON u."userId" = i."userId"
  FOR KEY SHARE OF u SKIP LOCKED
  RETURNING ${job}`;

/**
 * $1 the users' ids, each once; then arrays: $2 jobId, $3 userId, $4 filename, $5 videoUrl,
 * $6 availableAt. Inserts nothing when a user is unknown.
 */
const insertAll = (t: Tables, order: string, after: string): string => `
  INSERT INTO ${t.videoJobs} AS j
    ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt")
  SELECT i."jobId", i."userId", i."filename", i."videoUrl", ${NOW},
    GREATEST(i."availableAt", ${NOW})
  FROM unnest($2::uuid[], $3::uuid[], $4::varchar[], $5::text[], $6::timestamptz[])
    AS i("jobId", "userId", "filename", "videoUrl", "availableAt")
  WHERE (SELECT count(*) FROM owner) = cardinality($1::uuid[])
  ORDER BY ${order}
  ${after}`;

const lockOwners = (t: Tables): string => `owner AS MATERIALIZED (
    SELECT u."userId"
    FROM ${t.users} u
    WHERE u."userId" = ANY($1::uuid[])
    ORDER BY u."userId"
    FOR KEY SHARE OF u
  )`;

/**
 * With ids that are new. By user, because half of the indexes are: neighbours share their pages. How many
 * were created, and when: the rest of the rows is known, and to return it would take a tenth of the time.
 */
export const createNewJobs = (t: Tables): Statement => sql`
  WITH ${lockOwners(t)}, created AS (${insertAll(t, 'i."userId"', 'RETURNING 1')})
  SELECT count(*)::integer AS "count", ${NOW} AS "createdAt" FROM created`;

/**
 * The created jobs. In `jobId` order, so that two calls which repeat the same jobs wait for each other and
 * never deadlock.
 */
export const createJobs = (t: Tables): Statement => sql`
  WITH ${lockOwners(t)}
  ${insertAll(t, 'i."jobId"', `ON CONFLICT ("jobId") DO NOTHING RETURNING ${job}`)}`;

/** $1 userIds: those of them that do not exist. */
export const unknownUsers = (t: Tables): Statement => sql`
  SELECT i."userId"
  FROM unnest($1::uuid[]) AS i("userId")
  WHERE NOT EXISTS (SELECT FROM ${t.users} u WHERE u."userId" = i."userId")`;

/** $1 jobIds. */
export const getJobs = (t: Tables): Statement => sql`
  SELECT ${job} FROM ${t.videoJobs} j WHERE j."jobId" = ANY($1::uuid[])`;
