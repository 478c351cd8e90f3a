import { Client } from 'pg';
import type { QueryResult } from 'pg';
import { CONNECTIONS } from '../config.ts';
import type { Bench } from '../harness/scenario.ts';

/** Runs a prepared statement on one of the connections. */
export type Run = (
  connection: number,
  statement: { readonly name: string; readonly text: string },
  values: unknown[],
) => Promise<QueryResult<Record<string, unknown>>>;

/** Opens connections directly, without a pool. */
export async function openConnections(bench: Bench, url: string): Promise<Run> {
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const client = new Client({ connectionString: url });
      await client.connect();
      return client;
    }),
  );
  bench.onEnd(() => Promise.all(clients.map((client) => client.end())));
  return (connection, { name, text }, values) => {
    const client = clients[connection];
    if (client === undefined) throw new Error(`There is no connection ${connection}.`);
    return client.query({ name, text, values });
  };
}
