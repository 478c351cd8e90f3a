import { run } from '../../src/cli/cli.commands.js';
import { Boot, bootOnce } from '../connection/boot.js';
import { OwnServer } from '../support/own-server.js';
import { query } from '../support/query.js';

// Ways to say where the database is, each from the options, the environment and the command line.

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

const silent = { out: () => {}, err: () => {} };

async function socketUrl(database: string): Promise<string> {
  await query(server.url, `CREATE DATABASE ${database}`);
  const { username, password, port } = new URL(server.url);
  return `postgresql://${username}:${password}@/${database}?host=${server.socketFolder}&port=${port}`;
}

const throughSocket = `SELECT inet_server_addr() IS NULL AS "socket", current_database() AS "name"`;

it('a socket, from an option', async () => {
  const dataSource = await new Boot().open({ url: await socketUrl('by_option') });
  expect(await dataSource.query(throughSocket)).toEqual([{ socket: true, name: 'by_option' }]);
  await dataSource.destroy();
});

it('a socket, from a replication', async () => {
  const url = await socketUrl('by_replication');
  const dataSource = await new Boot().open({ replication: { master: { url }, slaves: [{ url }] } });
  expect(await dataSource.query(throughSocket)).toEqual([{ socket: true, name: 'by_replication' }]);
  await dataSource.destroy();
});

it('a socket, from the environment, and by the command line', async () => {
  const url = await socketUrl('by_environment');
  await inEnvironment({ DATABASE_URL: url }, async () => {
    expect(await run(['migrate'], silent)).toBe(0);
    expect(await bootOnce({ requireCurrentSchema: true })).toEqual([]);
  });
});

it('a schema in a URL, from an option, the environment, and by the command line', async () => {
  await query(server.url, 'CREATE DATABASE with_schema');
  const url = new URL(server.url);
  url.pathname = 'with_schema';
  url.searchParams.set('schema', 'Frame Forge');
  await inEnvironment({ DATABASE_URL: url.href }, async () => {
    expect(await run(['migrate'], silent)).toBe(0);
    expect(await run(['check'], silent)).toBe(0);
    expect(await bootOnce({ requireCurrentSchema: true })).toEqual([]);
  });
  expect(await bootOnce({ url: url.href, requireCurrentSchema: true })).toEqual([]);
  url.search = '';
  expect(
    await query(
      url.href,
      `SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('users', 'migrations')`,
    ),
  ).toEqual([{ schemaname: 'Frame Forge' }]);
});

it('PGSSLMODE is obeyed where nothing else says anything, and only there', async () => {
  await inEnvironment({ PGSSLMODE: 'require', DATABASE_URL: server.url }, async () => {
    const lines: string[] = [];
    const write = (line: string): void => void lines.push(line);
    expect(await run(['status'], { out: write, err: write })).toBe(1);
    expect(lines).toEqual([
      expect.stringContaining('off here: by `ssl`, DB_SSL, the URL, or PGSSLMODE.'),
    ]);
    await bootOnce({ url: server.url, ssl: false, migrationsRun: false });
    await bootOnce({ url: `${server.url}?sslmode=disable`, migrationsRun: false });
    await bootOnce({ url: `${server.url}?ssl=false`, migrationsRun: false });
    await inEnvironment({ DB_SSL: 'false' }, () => bootOnce({ migrationsRun: false }));
  });
});
