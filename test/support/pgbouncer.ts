import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { chooseAccount, giveTo } from '../../src/embedded/server.account.js';

export interface Pooler {
  /** The URL for the same database and user, through the pooler. */
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Starts PgBouncer in transaction mode before a server. It serves every database, and every user with a password
 * on the server. It ends when this process ends, in whatever way.
 *
 * @param serverUrl - the URL of a superuser
 * @param settings - settings for pgbouncer.ini; they replace those below
 */
export async function startPgBouncer(
  serverUrl: string,
  settings: Record<string, string | number> = {},
): Promise<Pooler> {
  const server = new URL(serverUrl);
  const account = chooseAccount(undefined);
  const directory = mkdtempSync(join(tmpdir(), 'frameforge-pgbouncer-'));
  chmodSync(directory, 0o711);
  const [users, log, ini] = ['users.txt', 'log.txt', 'pgbouncer.ini'].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  const port = await freePort();
  const all = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    pool_mode: 'transaction',
    auth_type: 'scram-sha-256',
    auth_file: users,
    auth_user: server.username,
    max_client_conn: 1000,
    default_pool_size: 20,
    logfile: log,
    ...settings,
  };
  writeFileSync(users, `"${server.username}" "${decodeURIComponent(server.password)}"\n`);
  writeFileSync(log, '');
  const lines = Object.entries(all).map(([name, value]) => `${name} = ${value}`);
  writeFileSync(
    ini,
    `[databases]\n* = host=${server.hostname} port=${server.port}\n[pgbouncer]\n${lines.join('\n')}\n`,
  );
  for (const path of [users, log, ini]) giveTo(account, path);
  // The shell ends PgBouncer when the shell's standard input ends. That is when this process ends.
  const child = spawn('sh', ['-c', `pgbouncer -q "$0" & read -r _; kill -INT $!; wait $!`, ini], {
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
    ...account,
  });
  child.unref();
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.stdin.end();
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  // PgBouncer refuses startup parameters that it does not know.
  url.searchParams.delete('options');
  try {
    await untilReady(url.href);
  } catch (error) {
    const said = readFileSync(log, 'utf8');
    await stop();
    throw new Error(
      `PgBouncer did not start. Is it installed (apt-get install pgbouncer)? It said: ${said}`,
      { cause: error },
    );
  }
  return { url: url.href, stop };
}

async function untilReady(url: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const client = new Client({ connectionString: url });
    client.on('error', () => {});
    try {
      await client.connect();
      return await client.end();
    } catch (error) {
      if (tries === 100) throw error;
      await sleep(50);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
