import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DataSource } from 'typeorm';
import { run } from '../../src/cli/cli.commands.js';
import { Boot, bootOnce } from '../connection/boot.js';
import { OwnServer } from '../support/own-server.js';
import { withoutRun } from '../testing/test.run.js';
import { query } from '../support/query.js';

// Every way to name the database is tried with the options, the environment and the command line.

let server: OwnServer;
beforeAll(async () => {
  server = await OwnServer.start();
}, 60_000);
afterAll(() => server.remove());

async function inEnvironment<T>(env: NodeJS.ProcessEnv, work: () => Promise<T>): Promise<T> {
  const before = process.env;
  process.env = { ...before, ...env };
  try {
    return await work();
  } finally {
    process.env = before;
  }
}

async function socketUrl(name: string): Promise<string> {
  await query(server.url, `CREATE DATABASE ${name}`);
  const { username, password, port } = new URL(server.url);
  return `postgresql://${username}:${password}@/${name}?host=${server.socketFolder}&port=${port}`;
}

const throughSocket = `SELECT inet_server_addr() IS NULL AS "socket", current_database() AS "name"`;

/** An address of a database, and the result: how the database is reached, and where its tables are. */
interface Said {
  readonly url: string;
  /** The address as a configuration service returns it. */
  readonly ssl?: string;
}

const REACHED = `SELECT inet_server_addr() IS NULL AS "socket",
  (SELECT schemaname FROM pg_tables WHERE tablename = 'video_jobs') AS "schema"`;

/** The result of a call, or the message of its error. */
type Outcome = { socket: boolean; schema: string } | string;

const reached = async (dataSource: DataSource): Promise<Outcome> => {
  const [outcome] = await dataSource.query<[Outcome]>(REACHED);
  await dataSource.destroy();
  return outcome;
};

const bySaid = async ({ url, ssl }: Said): Promise<DataSource> =>
  new Boot().open({ url, connectRetryMs: 0, ...(ssl === undefined ? {} : ({ ssl } as object)) });

const whyNot = (error: unknown): string => (error as Error).message;

/** Runs a command, and checks its result. */
async function commanded(args: string[], look: () => Promise<Outcome>): Promise<Outcome> {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  return (await run(args, { out: write, err: write })) === 0 ? look() : lines.join();
}

const inNoOther = { DATABASE_URL: '', DB_SSL: '' };

const WAYS: Record<string, (said: Said) => Promise<Outcome>> = {
  'the options': (said) => inEnvironment(inNoOther, () => bySaid(said).then(reached).catch(whyNot)),
  'the environment': ({ url, ssl = '' }) =>
    inEnvironment({ DATABASE_URL: url, DB_SSL: ssl }, () =>
      new Boot().open({ connectRetryMs: 0 }).then(reached).catch(whyNot),
    ),
  'the command line': ({ url, ssl = '' }) =>
    inEnvironment({ DATABASE_URL: url, DB_SSL: ssl }, () =>
      commanded(['migrate'], () => bySaid({ url }).then(reached)),
    ),
  'a data source of the command line': async ({ url, ssl }) => {
    const folder = await mkdtemp(join(tmpdir(), 'frameforge-addresses-'));
    const file = join(folder, 'data-source.mjs');
    const options = JSON.stringify({ type: 'postgres', url, ssl, installExtensions: false });
    const typeorm = import.meta.resolve('typeorm');
    const mine = pathToFileURL(resolve('src/index.ts')).href;
    await writeFile(
      file,
      `import { DataSource } from ${JSON.stringify(typeorm)};
       import { frameForgeEntities, frameForgeMigrations } from ${JSON.stringify(mine)};
       export default new DataSource({ ...${options}, entities: frameForgeEntities,
         migrations: frameForgeMigrations });`,
    );
    try {
      return await commanded(['migrate', '-d', file], () => bySaid({ url }).then(reached));
    } finally {
      await rm(folder, { recursive: true });
    }
  },
  'the fixtures': async ({ url }) => {
    const env = { ...withoutRun(process.env), NODE_OPTIONS: '', TEST_DATABASE_URL: url };
    const execArgv = ['--import', './test/support/typescript.mjs'];
    const child = fork('test/boot/fixture.process.ts', { execArgv, env });
    const [[outcome]] = await Promise.all([once(child, 'message'), once(child, 'exit')]);
    return outcome as Outcome;
  },
};

async function database(): Promise<URL> {
  const name = `db_${randomUUID().replaceAll('-', '')}`;
  await query(server.url, `CREATE DATABASE ${name}`);
  const url = new URL(server.url);
  url.pathname = name;
  return url;
}

describe.each(Object.keys(WAYS))('by %s', (way) => {
  const outcomeOf = (said: Said): Promise<Outcome> => WAYS[way]!(said);
  const ofFile = way === 'a data source of the command line';

  it('a schema in the URL is used, or refused by name', async () => {
    const url = await database();
    url.searchParams.set('schema', 'Frame Forge');
    expect(await outcomeOf({ url: url.href })).toEqual(
      ofFile
        ? expect.stringContaining(
            "the URL names the schema 'Frame Forge', which TypeORM does not read: use `schema`",
          )
        : { socket: false, schema: 'Frame Forge' },
    );
  });

  it('a URL of a socket is used, or refused by name', async () => {
    const { username, password, port, pathname } = await database();
    const url = `postgresql://${username}:${password}@${pathname}?host=${server.socketFolder}&port=${port}`;
    expect(await outcomeOf({ url })).toEqual({ socket: true, schema: 'public' });
  });

  it("ssl 'false' is off, or refused by name", async () => {
    const url = await database();
    // The fixtures have no option for this, because it is a part of their URL.
    if (way === 'the fixtures') url.searchParams.set('ssl', 'false');
    const said = way === 'the fixtures' ? { url: url.href } : { url: url.href, ssl: 'false' };
    expect(await outcomeOf(said)).toEqual(
      way === 'the options' || ofFile
        ? expect.stringMatching(/`ssl` (must be true or false|is 'false', which counts as on)/)
        : { socket: false, schema: 'public' },
    );
  });

  it('a PGSSLMODE of the shell is obeyed, and named where the server has no TLS', async () => {
    const url = await database();
    await inEnvironment({ PGSSLMODE: 'require' }, async () => {
      expect(await outcomeOf({ url: url.href })).toMatch(/TLS.*PGSSLMODE/);
      url.searchParams.set('sslmode', 'disable');
      expect(await outcomeOf({ url: url.href })).toEqual({ socket: false, schema: 'public' });
    });
  });
});

it('a socket, from a replication', async () => {
  const url = await socketUrl('by_replication');
  const dataSource = await new Boot().open({ replication: { master: { url }, slaves: [{ url }] } });
  expect(await dataSource.query(throughSocket)).toEqual([{ socket: true, name: 'by_replication' }]);
  await dataSource.destroy();
});

it('PGSSLMODE is obeyed where nothing else says anything, and only there', async () => {
  await inEnvironment({ PGSSLMODE: 'require', DATABASE_URL: server.url }, async () => {
    const lines: string[] = [];
    const write = (line: string): void => void lines.push(line);
    expect(await run(['status'], { out: write, err: write })).toBe(1);
    expect(lines).toEqual([
      expect.stringContaining('off here: with `ssl`, DB_SSL, the URL, or PGSSLMODE.'),
    ]);
    await bootOnce({ url: server.url, ssl: false, migrationsRun: false });
    await bootOnce({ url: `${server.url}?sslmode=disable`, migrationsRun: false });
    await bootOnce({ url: `${server.url}?ssl=false`, migrationsRun: false });
    await inEnvironment({ DB_SSL: 'false' }, () => bootOnce({ migrationsRun: false }));
  });
});
