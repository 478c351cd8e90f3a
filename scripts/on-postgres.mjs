// node scripts/on-postgres.mjs <bin directory> <command...>
//
// Runs a command with TEST_DATABASE_URL naming a throw-away PostgreSQL of the given binaries. The server listens only
// on loopback, runs as an ordinary user, and ends with this process, also if this process is killed.
import { execFileSync, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { run } from './tally.mjs';

const [bin, ...command] = process.argv.slice(2);
const home = mkdtempSync(join(tmpdir(), 'frameforge-postgres-'));
const data = join(home, 'data');
const password = randomBytes(16).toString('hex');
const account = ordinaryAccount();
let server;
try {
  const port = await createCluster();
  server = await startServer(port);
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  const { code } = await run(command, { env: { TEST_DATABASE_URL: url } });
  process.exitCode = code ?? 1;
} finally {
  await stopServer();
  rmSync(home, { recursive: true, force: true });
}

/** PostgreSQL refuses to run as root. */
function ordinaryAccount() {
  if (process.getuid() !== 0) return undefined;
  const [uid, gid] = ['-u', '-g'].map((flag) =>
    Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' })),
  );
  return { uid, gid };
}

async function createCluster() {
  const passwordFile = join(home, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (account) for (const path of [home, passwordFile]) chownSync(path, account.uid, account.gid);
  execFileSync(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8'],
    { ...account, cwd: home, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  return findFreePort();
}

async function startServer(port) {
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: 400,
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const user = account
    ? [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups']
    : [];
  // The server gets a signal when this process dies, so it stops even if this process is killed.
  const child = spawn(
    'setpriv',
    [...user, '--pdeathsig=INT', '--', join(bin, 'postgres'), '-D', data, ...options],
    { cwd: home, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    log = (log + text).slice(-8192);
  });
  while (!log.includes('ready to accept connections')) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`PostgreSQL did not start:\n${log}`);
    await sleep(50);
  }
  return child;
}

/** A fast shutdown, unless the server has ended by itself. */
async function stopServer() {
  if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
  server.kill('SIGINT');
  await once(server, 'exit');
}

async function findFreePort() {
  const socket = createServer().listen(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}
