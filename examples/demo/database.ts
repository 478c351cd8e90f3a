import { randomBytes } from 'node:crypto';
import { startEmbeddedPostgres } from '@frameforge/shared-types/embedded';
import { Client } from 'pg';

/** The database that the demonstration uses. */
export interface DemoDatabase {
  readonly url: string;
  /** A schema of its own, so that nothing else in the database is touched. */
  readonly schema: string;
  readonly description: string;
  /** Leaves the database as it was found. */
  close(): Promise<void>;
}

/** Uses the database that DATABASE_URL names, or else starts a PostgreSQL from npm. */
export async function openDatabase(): Promise<DemoDatabase> {
  const given = process.env['DATABASE_URL'];
  const server = given ? undefined : await startEmbeddedPostgres();
  const url = given ? given : (server?.url ?? '');
  const schema = `frameforge_demo_${randomBytes(4).toString('hex')}`;
  try {
    const [row] = await query(url, 'SHOW server_version');
    await query(url, `CREATE SCHEMA ${schema}`);
    const version = String(row?.['server_version']).split(' ')[0];
    return {
      url,
      schema,
      description: `PostgreSQL ${version}, ${server ? 'embedded' : 'of DATABASE_URL'}`,
      close: async () => {
        if (server) await server.stop();
        else await query(url, `DROP SCHEMA ${schema} CASCADE`);
      },
    };
  } catch (error) {
    await server?.stop();
    throw error;
  }
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}
