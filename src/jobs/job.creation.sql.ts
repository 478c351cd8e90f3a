import { arrays, columns, NOW, sql } from '../sql/statement.js';
import type { Statement } from '../sql/statement.js';
import type { Tables } from '../schema/tables.js';
import { JOB_COLUMNS } from './job.columns.js';

/** The types and names of a new job's columns. The first parameters are an array for each column. */
const JOB_TYPES = ['uuid', 'uuid', 'varchar', 'text', 'timestamptz', 'jsonb'];
const JOB_NAMES = '"jobId", "userId", "filename", "videoUrl", "availableAt", "parameters"';

const INPUT = `${arrays(...JOB_TYPES, 'boolean')} AS i(${JOB_NAMES}, "isGiven")`;

/** The ids of the created jobs. As a subquery it costs nothing if nobody asks for it. */
const IDS = `(SELECT jsonb_agg("jobId") FROM created)`;

const insertInto = (t: Tables): string => `
    INSERT INTO ${t.videoJobs} AS j
      ("jobId", "userId", "filename", "videoUrl", "createdAt", "availableAt", "parameters")
    SELECT i."jobId", i."userId", i."filename", i."videoUrl", ${NOW},
      GREATEST(i."availableAt", ${NOW}), i."parameters"`;

/**
 * Creates all jobs of a call, or none. Arrays: $1 jobId, $2 userId, $3 filename, $4 videoUrl,
 * $5 availableAt, $6 parameters, $7 whether the caller gave the id ($5 to $7 are null if no job has a value),
 * $8 the ids of the users, each once.
 *
 * Returns a row for each job that exists already, and says whether its content differs. If there is none,
 * it returns one row without a job. Every row says how many jobs were created and when, and which users do
 * not exist. If fewer jobs than wanted were created, it also has their ids. Nothing is created if a user
 * does not exist or a content differs. The statement locks the users to find those who do not exist. So
 * the foreign key raises no error, which would abort the caller's transaction.
 *
 * Jobs with given ids are inserted in the order of the ids. So two calls with the same jobs wait for each
 * other and never deadlock. Other jobs are inserted by user, because half of the indexes begin with the
 * user: the new entries of one user share pages.
 *
 * @param onCollision - what to do if another call has inserted a job since this statement began. It raises
 *   an error, which undoes the whole statement, or it passes over the job. It passes over it in a caller's
 *   transaction, and if there is only one job
 */
const create = (t: Tables, onCollision: '' | 'ON CONFLICT ("jobId") DO NOTHING'): Statement => sql`
  WITH owner AS MATERIALIZED (
    SELECT u."userId"
    FROM ${t.users} u
    WHERE u."userId" = ANY((SELECT $8::uuid[])::uuid[])
    ORDER BY u."userId"
    FOR KEY SHARE OF u
  ), existing AS MATERIALIZED (
    SELECT ${columns(JOB_COLUMNS, 'j')},
      (j."userId", j."filename", j."videoUrl") <> (i."userId", i."filename", i."videoUrl")
        OR j."parameters" IS DISTINCT FROM i."parameters" AS "differs"
    FROM ${INPUT} JOIN ${t.videoJobs} j ON j."jobId" = i."jobId"
    WHERE i."isGiven" AND (SELECT $7::boolean[]) IS NOT NULL
  ), created AS (${insertInto(t)}
    FROM ${INPUT}
    WHERE (SELECT count(*) FROM owner) = cardinality($8::uuid[])
      AND NOT EXISTS (SELECT FROM existing e WHERE e."differs")
      AND i."jobId" NOT IN (SELECT e."jobId" FROM existing e)
    ORDER BY CASE WHEN i."isGiven" THEN i."jobId" ELSE i."userId" END
    ${onCollision}
    RETURNING j."jobId"
  ), summary AS (
    SELECT count(*)::integer AS "count", ${NOW} AS "now",
      CASE WHEN count(*) < cardinality($1::uuid[]) THEN ${IDS} END AS "created",
      (SELECT jsonb_agg(w."userId") FROM unnest($8::uuid[]) AS w("userId")
        WHERE w."userId" NOT IN (SELECT o."userId" FROM owner o)) AS "unknownUsers"
    FROM created
  )
  SELECT s.*, e.* FROM summary s LEFT JOIN existing e ON true`;

export const createJobs = (t: Tables): Statement => create(t, 'ON CONFLICT ("jobId") DO NOTHING');

export const createJobsOrRaise = (t: Tables): Statement => create(t, '');

/**
 * Creates jobs of independent calls. Arrays: $1 jobId, $2 userId, $3 filename, $4 videoUrl,
 * $5 availableAt, $6 parameters (both null if no job has a value). It passes over jobs whose user is unknown, or is
 * locked by somebody who changes or deletes the user. Returns one row: how many jobs were created and when,
 * and their ids if some were passed over.
 */
export const createJobsTogether = (t: Tables): Statement => sql`
  WITH created AS (${insertInto(t)}
    FROM ${arrays(...JOB_TYPES)} AS i(${JOB_NAMES})
    JOIN ${t.users} u ON u."userId" = i."userId"
    FOR KEY SHARE OF u SKIP LOCKED
    RETURNING j."jobId"
  )
  SELECT count(*)::integer AS "count", ${NOW} AS "now",
    CASE WHEN count(*) < cardinality($1::uuid[]) THEN ${IDS} END AS "created"
  FROM created`;

/** Removes jobs that the same transaction has created. $1 jobIds. */
export const removeJobs = (t: Tables): Statement => sql`
  DELETE FROM ${t.videoJobs} WHERE "jobId" = ANY($1::uuid[])`;
