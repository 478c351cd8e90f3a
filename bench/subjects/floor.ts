import { Client } from 'pg';
import { claimJobs } from '../../dist/jobs/job.claiming.sql.js';
import { createJob, createNewJobs } from '../../dist/jobs/job.creation.sql.js';
import { settleJob, settleJobsBriefly } from '../../dist/jobs/job.settlement.sql.js';
import type { Tables } from '../../dist/schema/tables.js';
import { CONNECTIONS } from '../config.ts';
import { withClient } from '../harness/server.ts';
import type { Bench } from '../harness/scenario.ts';
import { createMigratedDatabase } from './frameforge.ts';

export const HOW =
  '`pg` alone: the same SQL as this package runs, as prepared statements, on connections of its own without a pool';

const tables: Tables = {
  users: '"users"',
  videoJobs: '"video_jobs"',
  notificationLog: '"notification_log"',
  jobAttemptErrors: '"job_attempt_errors"',
};

/** The texts that this package runs. */
export const sql = {
  createJob: createJob(tables),
  createNewJobs: createNewJobs(tables),
  claimJobs: claimJobs(tables),
  settleJob: settleJob(tables),
  settleJobsBriefly: settleJobsBriefly(tables),
};

/** What is left when all but the driver and the database is taken away. */
export interface Floor {
  readonly url: string;
  readonly users: string[];
  run(
    connection: number,
    statement: { readonly name: string; readonly text: string },
    values: unknown[],
  ): Promise<Record<string, unknown>[]>;
}

/** What every change of a job's status is written to: the schema that was commissioned has them. */
const COMMISSIONED_INDEXES =
  'idx_jobs_user_id, idx_jobs_status, idx_jobs_created_at, idx_jobs_user_status, ' +
  'idx_notifications_job_id, idx_notifications_status';

export const BARE_HOW =
  'the floor on tables without the six indexes and the foreign keys of the first migrations, which this package has to keep: it shows what they cost';

/** The floor, on tables that have only what this package itself would have given them. */
export async function openBareFloor(bench: Bench): Promise<Floor> {
  const floor = await openFloor(bench);
  await withClient(floor.url, async (client) => {
    await client.query(`DROP INDEX ${COMMISSIONED_INDEXES}`);
    await client.query('ALTER TABLE video_jobs DROP CONSTRAINT fk_video_jobs_user');
    await client.query('ALTER TABLE notification_log DROP CONSTRAINT fk_notification_log_job');
  });
  return floor;
}

export async function openFloor(bench: Bench): Promise<Floor> {
  const { url, users } = await createMigratedDatabase(bench);
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const client = new Client({ connectionString: url });
      await client.connect();
      return client;
    }),
  );
  bench.onEnd(() => Promise.all(clients.map((client) => client.end())));
  return {
    url,
    users,
    run: async (connection, { name, text }, values) => {
      const client = clients[connection];
      if (client === undefined) throw new Error(`There is no connection ${connection}.`);
      const { rows } = await client.query({ name, text, values });
      return rows;
    },
  };
}
