import { Client } from 'pg';
import * as statements from '../../dist/jobs/job.sql.js';
import type { Tables } from '../../dist/schema/tables.js';
import { CONNECTIONS } from '../config.ts';
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
  createJob: statements.createJob(tables),
  createJobs: statements.createJobs(tables),
  claimJobs: statements.claimJobs(tables),
  settleJob: statements.settleJob(tables),
  settleJobsBriefly: statements.settleJobsBriefly(tables),
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
