import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';

/** What is to be removed when a process has ended. */
export interface Sweep {
  /** The server, as the URL of a database on it. */
  readonly url: string;
  /** The session of that process: the name of its connection, and the start of its databases' names. */
  readonly session: string;
  /** A query for databases that go too, as soon as it finds them, with its values. */
  readonly also?: { readonly query: string; readonly values: readonly string[] };
}

/** How long to wait for the other processes of a run to end, and how often to look, in ms. */
const [PATIENCE_MS, LOOK_MS] = [10_000, 200];

/**
 * The program of a process beside ours, plain JavaScript run by `node -e`: it works the same from
 * sources and from `dist`. Its standard input ends when our process does, in whatever way.
 */
const PROGRAM = `
const { createInterface } = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');

process.title = 'frameforge-sweeper';
for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});
const lines = [];
createInterface({ input: process.stdin })
  .on('line', (line) => lines.push(line))
  .on('close', () => {
    if (lines.length !== 1) return;
    sweep(JSON.parse(lines[0])).catch(() => { process.exitCode = 1; });
  });

async function sweep({ pg, url, session, also }) {
  const { Client } = require(pg);
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  const find = async (query, values) => (await client.query(query, values)).rows;
  const drop = async (rows) => {
    for (const { name } of rows) await client.query('DROP DATABASE IF EXISTS ' + name + ' WITH (FORCE)');
  };
  // It may be making a database still.
  const ended = 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1';
  while ((await find(ended, [session])).length > 0) await sleep(${LOOK_MS} / 10);
  const own = 'SELECT datname AS name FROM pg_database WHERE starts_with(datname, $1)';
  await drop(await find(own, [session + '_']));
  for (let waited = 0; also && waited < ${PATIENCE_MS}; waited += ${LOOK_MS}) {
    const rows = await find(also.query, also.values);
    await drop(rows);
    if (rows.length > 0) break;
    await sleep(${LOOK_MS});
  }
  await client.end();
}
`;

/**
 * Starts a small process that removes databases when ours has ended without doing it: by a signal, a
 * crash or `process.exit()`. It is in a process group of its own, which a Ctrl-C does not reach.
 *
 * @returns how to end it without a sweep
 */
export function startSweeper(sweep: Sweep): () => void {
  const { NODE_OPTIONS: _ours, ...env } = process.env;
  const child = spawn(process.execPath, ['-e', PROGRAM], {
    env,
    detached: true,
    windowsHide: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without it, the next session removes what is left.
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  child.unref();
  (child.stdin as { unref?: () => void }).unref?.();
  // By its standard input: the password is in no command line.
  const pg = createRequire(import.meta.url).resolve('pg');
  child.stdin.write(`${JSON.stringify({ ...sweep, pg })}\n`);
  return () => child.stdin.end('over\n');
}
