import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  binariesIn,
  findNativeFolder,
  prepareBinaries,
} from '../../src/embedded/binaries.locator.js';
import type { Binaries } from '../../src/embedded/binaries.locator.js';
import { chooseAccount, giveTo } from '../../src/embedded/server.account.js';

const run = promisify(execFile);

/**
 * A PostgreSQL server for one test, which can stop it, crash it and start it again with `pg_ctl`. It keeps
 * acknowledged data, as a server in production does. It ends when this process ends, in whatever way.
 */
export class OwnServer {
  private constructor(
    private readonly binaries: Binaries,
    private readonly directory: string,
    private readonly port: number,
    private readonly password: string,
    private readonly watcher: ChildProcess,
  ) {}

  /**
   * Makes a cluster and starts it.
   *
   * @param installation - the folder of the PostgreSQL to use; the one from npm if left out
   */
  static async start(installation?: string): Promise<OwnServer> {
    const account = chooseAccount(undefined);
    const directory = mkdtempSync(join(tmpdir(), 'frameforge-server-'));
    chmodSync(directory, 0o700);
    const password = randomBytes(16).toString('hex');
    writeFileSync(join(directory, 'password'), password);
    for (const path of [join(directory, 'password'), directory]) giveTo(account, path);
    const binaries =
      installation === undefined
        ? await prepareBinaries(findNativeFolder(), directory, account)
        : binariesIn(installation);
    // The watcher ends the server when its standard input ends. That is when this process ends.
    const watcher = spawn(
      'sh',
      [
        '-c',
        `read -r _; "$0" stop -D "$1/data" -m immediate; rm -rf "$1"`,
        binaries.pgCtl,
        directory,
      ],
      // The watcher has its own process group, so that a signal of the terminal does not end it.
      { stdio: ['pipe', 'ignore', 'ignore'], cwd: directory, detached: true, ...account },
    );
    watcher.unref();
    const server = new OwnServer(binaries, directory, await freePort(), password, watcher);
    const login = [
      '-U',
      'postgres',
      '-A',
      'scram-sha-256',
      `--pwfile=${directory}/password`,
      '--no-sync',
    ];
    await server.run(binaries.initdb, [
      '-D',
      `${directory}/data`,
      ...login,
      '-E',
      'UTF8',
      '--locale=C',
    ]);
    await server.control('start');
    return server;
  }

  /** The folder of the server's socket. Other users can read it. */
  get socketFolder(): string {
    return this.data;
  }

  get url(): string {
    return `postgres://postgres:${this.password}@127.0.0.1:${this.port}/postgres`;
  }

  /**
   * Runs `pg_ctl`. A stop in the mode `immediate` is a crash: the next start recovers.
   *
   * @returns when it is done; after a start, the server accepts connections
   */
  async control(
    action: 'start' | 'stop' | 'restart',
    mode: 'fast' | 'immediate' = 'fast',
  ): Promise<void> {
    const modes = action === 'start' ? [] : ['-m', mode];
    const start = action === 'stop' ? [] : this.settings();
    await this.run(this.binaries.pgCtl, [action, '-w', '-s', '-D', this.data, ...modes, ...start]);
  }

  /** Starts the server with a slow recovery from an empty archive. @returns in the middle of the recovery */
  async startSlowly(): Promise<void> {
    const signal = join(this.data, 'recovery.signal');
    writeFileSync(signal, '');
    giveTo(chooseAccount(undefined), signal);
    const slowly = this.settings(`-c restore_command='sleep 1; false' -c hot_standby=off`);
    await this.run(this.binaries.pgCtl, ['start', '-W', '-s', '-D', this.data, ...slowly]);
  }

  private get data(): string {
    return join(this.directory, 'data');
  }

  private settings(more = ''): string[] {
    const options = `-c port=${this.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='${this.data}' -c max_connections=200 ${more}`;
    return ['-l', join(this.directory, 'log'), '-o', options];
  }

  /** The log of the server since its first start. */
  log(): string {
    return readFileSync(join(this.directory, 'log'), 'utf8');
  }

  /** Stops the server and removes all of its files. */
  async remove(): Promise<void> {
    this.watcher.ref();
    const ended = once(this.watcher, 'exit');
    this.watcher.stdin?.end();
    await ended;
  }

  private async run(file: string, args: string[]): Promise<void> {
    // The output goes to a file. With a pipe, this call would wait as long as the server keeps the pipe open.
    const command = ['-c', `exec "$0" "$@" >"${this.directory}/output" 2>&1`, file, ...args];
    await run('sh', command, { cwd: this.directory, ...chooseAccount(undefined) });
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
