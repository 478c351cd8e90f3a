import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chooseAccount, giveTo } from '../../src/embedded/server.account.js';
import { freePorts, Processes } from './processes.js';
import { ETCD, HAPROXY, PATRONI, POSTGRES_BIN } from './programs.js';
import { haproxyConfiguration, patroniConfiguration } from './configuration.js';

/** How long the cluster may take to reach the expected state, in ms. */
const PATIENCE_MS = 180_000;

/** A PostgreSQL that a Patroni controls. */
export interface Node {
  readonly name: string;
  readonly directory: string;
  readonly port: number;
  /** The port of Patroni's REST interface. */
  readonly api: number;
}

/** A node, as Patroni reports it. */
interface Member {
  readonly name: string;
  readonly role: string;
  readonly state: string;
  readonly timeline?: number;
}

/** A Patroni cluster with synchronous replication, etcd, and HAProxy before it, on the loopback. */
export class Cluster {
  private constructor(
    private readonly processes: Processes,
    private readonly password: string,
    private readonly port: number,
    private readonly nodes: readonly Node[],
  ) {}

  /** Starts a cluster. @param keep - whether its directory with the logs stays after the end */
  static async start(names: readonly string[], keep: boolean): Promise<Cluster> {
    const processes = Processes.create(keep);
    const { directory } = processes;
    const room = (name: string): string => {
      const path = join(directory, name);
      mkdirSync(path, { mode: 0o700 });
      giveTo(chooseAccount(undefined), path);
      return path;
    };
    const ports = await freePorts(3 + 2 * names.length);
    const next = (): number => ports.pop() ?? 0;
    const [port, etcd, peers] = [next(), next(), next()];
    const nodes = names.map((name) => ({
      name,
      directory: room(name),
      port: next(),
      api: next(),
    }));
    const password = randomBytes(16).toString('hex');
    const cluster = new Cluster(processes, password, port, nodes);
    try {
      const [client, peer] = [`http://127.0.0.1:${etcd}`, `http://127.0.0.1:${peers}`];
      const options = {
        'enable-v2': 'true',
        'data-dir': 'data',
        'listen-client-urls': client,
        'advertise-client-urls': client,
        'listen-peer-urls': peer,
        'initial-advertise-peer-urls': peer,
        'initial-cluster': `default=${peer}`,
      };
      const given = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
      processes.start(room('etcd'), ETCD, given);
      await cluster.until(
        'etcd to answer',
        async () => (await ask(`${client}/health`)) !== undefined,
      );
      for (const node of nodes) {
        cluster.write(
          join(node.directory, 'patroni.yml'),
          // JSON is valid YAML.
          JSON.stringify(patroniConfiguration(node, etcd, password, POSTGRES_BIN), undefined, 2),
        );
      }
      const proxy = room('haproxy');
      cluster.write(join(proxy, 'haproxy.cfg'), haproxyConfiguration(port, nodes));
      processes.start(proxy, HAPROXY, ['-db', '-f', 'haproxy.cfg']);
      // The nodes start one after the other. The first makes the database, and the others copy it.
      for (const node of nodes) {
        cluster.startNode(node);
        await cluster.until(`node ${node.name} to run`, async () =>
          (await cluster.members()).some(
            ({ name, state }) => name === node.name && state === 'running',
          ),
        );
      }
      await cluster.untilHealthy();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** The URL of the node that accepts writes, through HAProxy. */
  get url(): string {
    return `postgres://postgres:${this.password}@127.0.0.1:${this.port}/postgres`;
  }

  /** The directory of the cluster. */
  get directory(): string {
    return this.processes.directory;
  }

  startNode(node: Node): void {
    this.processes.start(node.directory, PATRONI, ['patroni.yml']);
  }

  /** Sends a signal to all processes of a node at once, as if it happened to its host. */
  signal(node: Node, signal: NodeJS.Signals): void {
    this.processes.signal(node.directory, signal);
  }

  /** The main process of a node's PostgreSQL; undefined while there is none. */
  postmaster(node: Node): number | undefined {
    const file = join(node.directory, 'data/postmaster.pid');
    if (!existsSync(file)) return undefined;
    const [pid = ''] = readFileSync(file, 'utf8').split('\n');
    return /^\d+$/.test(pid) ? Number(pid) : undefined;
  }

  /** The node that accepts writes. */
  async leader(): Promise<Node> {
    const name = (await this.members()).find(({ role }) => role === 'leader')?.name;
    const node = this.nodes.find((one) => one.name === name);
    if (node === undefined) throw new Error('The cluster has no leader at the moment.');
    return node;
  }

  /** Asks Patroni to make the synchronous standby the leader. */
  async switchover(): Promise<void> {
    const leader = await this.leader();
    const candidate = (await this.members()).find(({ role }) => role === 'sync_standby')?.name;
    const response = await fetch(`http://127.0.0.1:${leader.api}/switchover`, {
      method: 'POST',
      body: JSON.stringify({ leader: leader.name, candidate }),
    });
    if (!response.ok) throw new Error(`Patroni refuses the switchover: ${await response.text()}`);
  }

  /** Waits until a node other than this one accepts writes. */
  untilLed(before: Node): Promise<void> {
    const others = this.nodes.filter((node) => node !== before);
    return this.until(`another node than ${before.name} to accept writes`, async () => {
      const answers = others.map(({ api }) => ask(`http://127.0.0.1:${api}/primary`));
      return (await Promise.all(answers)).some((answer) => answer !== undefined);
    });
  }

  /** Waits until all nodes are on one timeline, and one of them is a synchronous standby. */
  untilHealthy(): Promise<void> {
    return this.until('all nodes to follow one leader', async () => {
      const members = await this.members();
      const leader = members.find(({ role }) => role === 'leader');
      return (
        members.length === this.nodes.length &&
        members.every(
          ({ state, timeline }) => state === 'running' && timeline === leader?.timeline,
        ) &&
        members.some(({ role }) => role === 'sync_standby')
      );
    });
  }

  /** Waits for a state. @throws after three minutes, with the end of each log */
  async until(what: string, holds: () => Promise<boolean>): Promise<void> {
    for (const end = performance.now() + PATIENCE_MS; performance.now() < end;) {
      if (await holds()) return;
      await sleep(200);
    }
    const logs = readdirSync(this.directory).map((name) => {
      const log = join(this.directory, name, 'log');
      const lines = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
      return `${name}:\n${lines.slice(-15).join('\n')}`;
    });
    throw new Error(
      `Waited ${PATIENCE_MS / 1_000} s in vain for ${what}. The logs end with\n${logs.join('\n')}`,
    );
  }

  async stop(): Promise<void> {
    await this.processes.end();
  }

  /** The nodes, as the first Patroni that answers reports them; empty if none answers. */
  private async members(): Promise<Member[]> {
    for (const node of this.nodes) {
      const answer = await ask(`http://127.0.0.1:${node.api}/cluster`);
      if (answer !== undefined) return (answer as { members: Member[] }).members;
    }
    return [];
  }

  private write(file: string, text: string): void {
    writeFileSync(file, text, { mode: 0o600 });
    giveTo(chooseAccount(undefined), file);
  }
}

/** Reads an address. Returns undefined if nothing answers there. */
async function ask(url: string): Promise<unknown> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}
