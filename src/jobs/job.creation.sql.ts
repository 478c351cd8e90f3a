import { arrays, columns, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { JOB_COLUMNS } from './job.columns.js';

/** What describes a new job: an array of each, as the first parameters. */
const JOB_TYPES = ['uuid', 'uuid', 'varchar', 'text', 'timestamptz', 'jsonb'];
const JOB_NAMES = '"jobId", "userId", "filename", "videoUrl", "availableAt", "parameters"';

const insertInto = (t: Tables): string => `
    INSERT INTO ${t.videoJobs} AS j
      ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt", "parameters")
    SELECT i."jobId", i."userId", i."filename", i."videoUrl", ${NOW},
      GREATEST(i."availableAt", ${NOW}), i."parameters"`;

/**
 * Creates all jobs of a call, or none. Arrays: $1 jobId, $2 userId, $3 filename, $4 videoUrl,
 * $5 availableAt, $6 parameters, null if no job has any, $7 whether the caller gave the id; and $8 the
 * users' ids, each once.
 *
 * A row for each job that is there already, with whether its content is another, or one row without a
 * job; in each, how many were created and when, the ids of those if they are not all that were wanted,
 * and the users who do not exist. Nothing is created if there is such a user or such a conflict. Locking
 * the users refuses one who does not exist without the foreign key's error, which would abort the
 * caller's transaction.
 *
 * Given ids in their order, so that two calls which repeat the same jobs wait for each other and never
 * deadlock; others by user, because half of the indexes are: neighbours share their pages.
 *
 * @param onCollision - with a job that another call has inserted since this statement began: raise an
 *   error, which undoes the whole of it, or pass over it, for a caller's transaction and for one job
 */
const create = (t: Tables, onCollision: '' | 'ON CONFLICT ("jobId") DO NOTHING'): Statement => sql`
  WITH input AS MATERIALIZED (
    SELECT * FROM ${arrays(...JOB_TYPES, 'boolean')} AS i(${JOB_NAMES}, "isGiven")
  ), owner AS MATERIALIZED (
    SELECT u."userId"
    FROM ${t.users} u
    WHERE u."userId" = ANY((SELECT $8::uuid[])::uuid[])
    ORDER BY u."userId"
    FOR KEY SHARE OF u
  ), existing AS MATERIALIZED (
    SELECT ${columns(JOB_COLUMNS, 'j')},
      (j."userId", j."filename", j."videoUrl") <> (i."userId", i."filename", i."videoUrl")
        OR j."parameters" IS DISTINCT FROM i."parameters" AS "differs"
    FROM input i JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    WHERE i."isGiven"
  ), created AS (${insertInto(t)}
    FROM input i
    WHERE (SELECT count(*) FROM owner) = cardinality($8::uuid[])
      AND NOT EXISTS (SELECT FROM existing e WHERE e."differs")
      AND i."jobId" NOT IN (SELECT e."jobId" FROM existing e)
    ORDER BY CASE WHEN i."isGiven" THEN i."jobId" ELSE i."userId" END
    ${onCollision}
    RETURNING j."jobId"
  ), summary AS (
    SELECT count(*)::integer AS "count", ${NOW} AS "now",
      CASE WHEN count(*) < cardinality($1::uuid[]) THEN jsonb_agg("jobId") END AS "created",
      (SELECT jsonb_agg(w."userId") FROM unnest($8::uuid[]) AS w("userId")
        WHERE w."userId" NOT IN (SELECT o."userId" FROM owner o)) AS "unknownUsers"
    FROM created
  )
  SELECT s.*, e.* FROM summary s LEFT JOIN existing e ON true`;

export const createJobs = (t: Tables): Statement => create(t, 'ON CONFLICT ("jobId") DO NOTHING');

export const createJobsOrRaise = (t: Tables): Statement => create(t, '');

/**
 * Creates jobs that have nothing to do with each other. Arrays: $1 jobId, $2 userId, $3 filename,
 * $4 videoUrl, $5 availableAt, $6 parameters, null if no job has any. It passes over jobs whose user is unknown, or is locked by somebody who
 * changes or deletes it. One row: how many were created and when, and their ids if they are not all.
 */
export const createJobsTogether = (t: Tables): Statement => sql`
  WITH created AS (${insertInto(t)}
    FROM ${arrays(...JOB_TYPES)} AS i(${JOB_NAMES})
    JOIN ${t.users} u ON u."userId" = i."userId"
    FOR KEY SHARE OF u SKIP LOCKED
    RETURNING j."jobId"
  )
  SELECT count(*)::integer AS "count", ${NOW} AS "now",
    CASE WHEN count(*) < cardinality($1::uuid[]) THEN jsonb_agg("jobId") END AS "created"
  FROM created`;

/** $1 jobIds, which the same transaction has created. */
export const removeJobs = (t: Tables): Statement => sql`
  DELETE FROM ${t.videoJobs} WHERE "jobId" = ANY($1::uuid[])`;
