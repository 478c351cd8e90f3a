import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { startEmbeddedPostgres } from '../../dist/embedded/index.js';
import type { Profile } from '../config.ts';

/** A durable PostgreSQL server, and the databases on it. */
export interface Server {
  /** The version, and the optimization of its compiler. */
  readonly version: string;
  readonly settings: Readonly<Record<string, string>>;
  /** Creates an empty database. Each subject has its own, so that none bloats the tables of another one. */
  createDatabase(): Promise<string>;
  dropDatabase(url: string): Promise<void>;
  /** Makes a checkpoint, so that later turns do not pay for earlier writes. */
  checkpoint(): Promise<void>;
  stop(): Promise<void>;
}

/** The settings of a production server. Committed changes survive a crash of the machine. */
const DURABLE = { fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on' };

export async function startServer(profile: Profile): Promise<Server> {
  const settings = {
    ...DURABLE,
    checkpoint_timeout: '15min',
    random_page_cost: '1.1',
    ...profile.server,
  };
  const dataDir = process.env['BENCH_DATA_DIR'];
  if (dataDir === undefined) throw new Error('Start the bench by npm run bench.');
  const server = await startEmbeddedPostgres({ dataDir, settings });
  const admin = new Client({ connectionString: server.url });
  await admin.connect();
  let databases = 0;
  const shown = await admin.query<{ name: string; setting: string }>(
    'SELECT name, current_setting(name) AS setting FROM pg_settings WHERE name = ANY($1) ORDER BY name',
    [Object.keys(settings)],
  );
  const version = await admin.query<{ version: string }>(
    `SELECT current_setting('server_version') || ', built with ' || substring(setting FROM '.*(-O\\S*)') AS version
     FROM pg_config WHERE name = 'CFLAGS'`,
  );
  return {
    version: version.rows[0]?.version ?? '',
    settings: Object.fromEntries(shown.rows.map(({ name, setting }) => [name, setting])),
    createDatabase: async () => {
      databases += 1;
      const name = `bench_${databases}`;
      await admin.query(`CREATE DATABASE ${name}`);
      const url = new URL(server.url);
      url.pathname = name;
      return url.href;
    },
    dropDatabase: async (url) => {
      const name = new URL(url).pathname.slice(1);
      const isUsed = async (): Promise<boolean> => {
        const used = await admin.query('SELECT FROM pg_stat_activity WHERE datname = $1', [name]);
        return used.rowCount !== 0;
      };
      // Some pools report their end before all of their connections are closed.
      for (let tries = 0; tries < 100 && (await isUsed()); tries += 1) await sleep(20);
      await admin.query(`DROP DATABASE ${name} WITH (FORCE)`);
    },
    checkpoint: async () => {
      await admin.query('CHECKPOINT');
    },
    stop: async () => {
      await admin.end();
      await server.stop();
    },
  };
}

/** Runs statements of the bench itself on a separate connection. */
export async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
