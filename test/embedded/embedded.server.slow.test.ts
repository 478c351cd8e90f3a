import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { ConfigurationError } from '../../src/errors.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded/index.js';
import { query } from '../support/query.js';
import { until } from '../support/until.js';

const servers: EmbeddedPostgres[] = [];
let home: string;

async function start(options?: Parameters<typeof startEmbeddedPostgres>[0]) {
  const server = await startEmbeddedPostgres(options);
  servers.push(server);
  return server;
}

async function setting({ url }: EmbeddedPostgres, name: string): Promise<unknown> {
  return (await query(url, `SELECT current_setting('${name}') AS value`))[0]?.['value'];
}

const lockFile = (): string => join(home, 'data', 'pgdata', 'postmaster.pid');
const serverPid = (): number => Number(readFileSync(lockFile(), 'utf8').split('\n')[0]);

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'embedded-test-'));
  chmodSync(home, 0o755);
});

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  rmSync(home, { recursive: true, force: true });
});

describe('a temporary server', () => {
  it('takes queries until it is stopped, and leaves no files', async () => {
    const server = await start();
    expect(new URL(server.url)).toMatchObject({ hostname: '127.0.0.1', pathname: '/frameforge' });
    expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    const directory = String(await setting(server, 'data_directory'));
    expect(existsSync(directory)).toBe(true);

    await server.stop();
    await server.stop();
    await expect(query(server.url, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(existsSync(join(directory, '..'))).toBe(false);
  });

  it('is reachable on loopback with its password only', async () => {
    const server = await start();
    expect(await setting(server, 'listen_addresses')).toBe('127.0.0.1');
    expect(await setting(server, 'unix_socket_directories')).toBe('');
    const url = new URL(server.url);
    url.password = 'postgres';
    await expect(query(url.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  });

  it('is fast by default, and takes settings and the name of the database', async () => {
    const server = await start({ database: 'Videos-2', settings: { work_mem: '12MB' } });
    expect(await setting(server, 'fsync')).toBe('off');
    expect(await setting(server, 'max_connections')).toBe('200');
    expect(await setting(server, 'work_mem')).toBe('12MB');
    expect(await query(server.url, 'SELECT current_database() AS name')).toEqual([
      { name: 'Videos-2' },
    ]);
  });

  it('refuses a database name that a url could not carry', async () => {
    await expect(start({ database: 'a/b?c' })).rejects.toThrow(/"a\/b\?c"/);
  });

  it.each<[options: unknown, problem: string]>([
    [5, 'its options must be an object'],
    [{ dataDirectory: 'x' }, '`dataDirectory` is not an option here'],
    [{ timeoutMs: 2 ** 40 }, '`timeoutMs` must be a whole number of milliseconds from 1 to'],
    [{ timeoutMs: '60000' }, '`timeoutMs` must be a whole number of milliseconds from 1 to'],
    [{ port: 0 }, '`port` must be a whole number from 1 to 65535'],
    [{ port: 70_000 }, '`port` must be a whole number from 1 to 65535'],
    [{ dataDir: 5 }, '`dataDir` must be a text that is not empty'],
    [{ dataDir: '' }, '`dataDir` must be a text that is not empty'],
    [{ database: 5 }, '`database` must be 1 to 63 letters'],
    [{ settings: 'fsync=on' }, '`settings` must be an object'],
    [{ settings: { work_mem: undefined } }, '`settings` has work_mem, which is no text, number'],
    [{ settings: { Port: 5432 } }, '`settings` has Port: use the option `port`'],
    [{ settings: { listen_addresses: '*' } }, '`settings` has listen_addresses: the server'],
    [{ settings: { unix_socket_directories: '/tmp' } }, '`settings` has unix_socket_directories:'],
  ])('refuses %j, by name', async (options, problem) => {
    const starting = start(options as object);
    await expect(starting).rejects.toThrow(ConfigurationError);
    await expect(starting).rejects.toThrow(problem);
  });

  it('is reached with a PGSSLMODE in the shell, also if its settings say that TLS is off', async () => {
    const { env } = process;
    process.env = { ...env, PGSSLMODE: 'require' };
    try {
      const server = await start({ settings: { ssl: 'off' } });
      expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    } finally {
      process.env = env;
    }
  });

  it('tells of a server that crashes while it makes the database, and ends no process', async () => {
    const dataDir = join(home, 'data');
    const settings = { max_prepared_transactions: 1 };
    const first = await start({ dataDir, settings });
    // Outlives the server, and lets nobody make a database.
    await query(
      first.url,
      `BEGIN; LOCK pg_database IN SHARE MODE; PREPARE TRANSACTION 'in the way'`,
    );
    await first.stop();
    const starting = start({ dataDir, settings, database: 'another' });
    const refused = expect(starting).rejects.toThrow(/Connection terminated unexpectedly/);
    const url = new URL(first.url);
    await until(async () => {
      url.port = existsSync(lockFile())
        ? (readFileSync(lockFile(), 'utf8').split('\n')[3] ?? '')
        : '';
      const waiting = await query(
        url.href,
        `SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND wait_event_type = 'Lock'`,
      ).catch(() => []);
      return waiting.length > 0;
    });
    process.kill(serverPid(), 'SIGQUIT');
    await refused;
  });

  it('stops although clients are connected', async () => {
    const server = await start();
    const client = new Client({ connectionString: server.url });
    client.on('error', () => {});
    await client.connect();
    const sleeping = client.query('SELECT pg_sleep(60)').then(
      () => 'over',
      () => 'cut off',
    );
    await server.stop();
    expect(await sleeping).toBe('cut off');
  });

  it('says why the server did not start', async () => {
    const starting = start({ settings: { max_connections: 'many' } });
    await expect(starting).rejects.toThrow(ConfigurationError);
    await expect(starting).rejects.toThrow(/invalid value for parameter "max_connections": "many"/);
  });

  it('gives up after the time that it was given', async () => {
    await expect(start({ timeoutMs: 1 })).rejects.toThrow(/did not start within 1 ms/);
  });
});

const onLinux = process.platform === 'linux' ? it : it.skip;

/** Makes directories of servers, with the names that they would have if a process with this pid had made them. */
async function filesOf(...pids: number[]): Promise<string[]> {
  const server = await start();
  const scratch = dirname(String(await setting(server, 'data_directory')));
  const prefix = scratch.slice(0, scratch.lastIndexOf(`${process.pid}-`));
  const all = pids.map((pid) => `${prefix}${pid}-abcdef`);
  for (const directory of all) mkdirSync(directory);
  return all;
}

/** The pid of a process that has ended. No other process has it. */
const gone = (): number => Number(spawnSync(process.execPath, ['--version']).pid);

describe('the files of a process that is gone', () => {
  const asRoot = process.geteuid?.() === 0 ? it : it.skip;

  it('are removed by the next start, and the files of a living process are not', async () => {
    const [dead, alive] = await filesOf(gone(), process.ppid);
    await start();
    expect([existsSync(String(dead)), existsSync(String(alive))]).toEqual([false, true]);
    rmSync(String(alive), { recursive: true });
  });

  asRoot('are left alone where they belong to another user (tried by root)', async () => {
    const [directory] = await filesOf(gone());
    chownSync(String(directory), 65534, 65534);
    await start();
    expect(existsSync(String(directory))).toBe(true);
    rmSync(String(directory), { recursive: true });
  });
});

onLinux('stop() rejects when the guardian was killed and could not clean up', async () => {
  const dataDir = join(home, 'data');
  const server = await startEmbeddedPostgres({ dataDir });
  const pid = serverPid();
  const guardian = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  process.kill(Number(guardian), 'SIGKILL');
  const error = await server.stop().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ConfigurationError);
  const [, scratch] = /still run in (\S+) or /.exec(String(error)) ?? [];
  expect(existsSync(String(scratch))).toBe(true);
  process.kill(pid, 'SIGQUIT');
  while (existsSync(lockFile())) await sleep(20);
  rmSync(String(scratch), { recursive: true });
});

describe('several servers', () => {
  it('start at once, each on its own port with its own data', async () => {
    const all = await Promise.all([start(), start(), start()]);
    expect(new Set(all.map(({ url }) => new URL(url).port)).size).toBe(3);
    expect(new Set(all.map(({ url }) => new URL(url).password)).size).toBe(3);
    await query(all[0]!.url, 'CREATE TABLE only_here (n int)');
    await expect(query(all[1]!.url, 'TABLE only_here')).rejects.toMatchObject({ code: '42P01' });
  });

  it('take another port when the free one is gone before the server has it', async () => {
    const thief = createServer();
    const restore = robFirstFreePort(thief);
    try {
      const server = await start();
      expect(thief.listening).toBe(true);
      expect(Number(new URL(server.url).port)).not.toBe((thief.address() as AddressInfo).port);
      expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    } finally {
      restore();
      thief.close();
    }
  });

  it('refuse a port that was asked for and is taken', async () => {
    const first = await start();
    const port = Number(new URL(first.url).port);
    await expect(start({ port })).rejects.toThrow(/Address already in use/);
  });
});

describe('a persistent server', () => {
  it('keeps its data, its password and its durability', async () => {
    const dataDir = join(home, 'data');
    const first = await start({ dataDir });
    expect(await setting(first, 'fsync')).toBe('on');
    await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    await first.stop();

    const second = await start({ dataDir });
    expect(await query(second.url, 'TABLE kept')).toEqual([{ answer: 42 }]);
    expect(new URL(second.url).password).toBe(new URL(first.url).password);
    expect(statSync(join(dataDir, 'pgdata', 'frameforge-password')).mode & 0o777).toBe(0o600);
  });

  it('can be started by only one process, and the other one is told which process has it', async () => {
    const dataDir = join(home, 'data');
    const [a, b] = await Promise.allSettled([start({ dataDir }), start({ dataDir })]);
    const refused = [a, b].filter((result) => result.status === 'rejected');
    expect(refused).toHaveLength(1);
    expect(refused[0]?.reason).toBeInstanceOf(ConfigurationError);
    expect(String(refused[0]?.reason)).toContain(
      `in use by the PostgreSQL with pid ${serverPid()}`,
    );
    await Promise.all(servers.map((server) => server.stop()));
    expect(readdirSync(dataDir)).toEqual(['pgdata']);
  });

  it('waits for the pid of another process that is just taking the data', async () => {
    const dataDir = join(home, 'data');
    await (await start({ dataDir })).stop();
    const { uid, gid } = statSync(join(dataDir, 'pgdata'));
    writeFileSync(lockFile(), '');
    chownSync(lockFile(), uid, gid);
    const second = start({ dataDir });
    await sleep(1000);
    rmSync(lockFile());
    expect(await query((await second).url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  onLinux('waits for the one before, which is stopping', async () => {
    const dataDir = join(home, 'data');
    const first = await start({ dataDir });
    const checkpointer = `SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'`;
    const pid = Number((await query(first.url, checkpointer))[0]?.['pid']);
    // A server that stops makes a checkpoint as its last step.
    process.kill(pid, 'SIGSTOP');
    const stopping = first.stop();
    const second = start({ dataDir });
    await sleep(1500);
    process.kill(pid, 'SIGCONT');
    await stopping;
    expect(await query((await second).url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('recovers from a crash, also when its old pid now belongs to something else', async () => {
    const dataDir = join(home, 'data');
    const first = await start({ dataDir });
    await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    const stale = readFileSync(lockFile(), 'utf8');
    process.kill(serverPid(), 'SIGKILL');
    await first.stop();

    const { uid, gid } = statSync(join(dataDir, 'pgdata'));
    const stranger = spawn('sleep', ['60'], process.geteuid?.() === 0 ? { uid, gid } : {});
    try {
      writeFileSync(lockFile(), stale.replace(/^\d+/, String(stranger.pid)));
      const second = await start({ dataDir });
      expect(await query(second.url, 'TABLE kept')).toEqual([{ answer: 42 }]);
    } finally {
      stranger.kill();
    }
  });

  it('refuses the data of another tool, and data without its password', async () => {
    writeFileSync(join(home, 'PG_VERSION'), '18\n');
    await expect(start({ dataDir: home })).rejects.toThrow(/another tool/);

    const dataDir = join(home, 'data');
    await (await start({ dataDir })).stop();
    rmSync(join(dataDir, 'pgdata', 'frameforge-password'));
    await expect(start({ dataDir })).rejects.toThrow(/Cannot read the password/);
  });
});

/** As soon as a free port is found for the first time, the thief takes it. */
function robFirstFreePort(thief: Server): () => void {
  const { close } = Server.prototype;
  const restore = (): void => {
    Server.prototype.close = close;
  };
  Server.prototype.close = function (this: Server, callback) {
    restore();
    const { port } = this.address() as AddressInfo;
    return close.call(this, () => thief.listen(port, '127.0.0.1', () => callback?.()));
  };
  return restore;
}
