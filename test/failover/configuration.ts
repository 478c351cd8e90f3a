import { join } from 'node:path';
import type { Node } from './cluster.js';

/**
 * The configuration of Patroni for a node. A commit is acknowledged when a standby has it too. Only such a standby
 * can become the leader. `ttl` is the shortest time that Patroni allows, in s, and the other times fit to it. A
 * leader that is silent for so long is replaced.
 */
export function patroniConfiguration(
  node: Node,
  etcd: number,
  password: string,
  binDir: string,
): object {
  return {
    scope: 'frameforge',
    name: node.name,
    restapi: { listen: `127.0.0.1:${node.api}`, connect_address: `127.0.0.1:${node.api}` },
    // This uses version 2 of etcd's interface. With version 3, Patroni 3.0 writes the leader's lock without a check of
    // its holder. A leader that was frozen could then take the lock back from the new leader.
    etcd: { host: `127.0.0.1:${etcd}` },
    bootstrap: {
      dcs: {
        ttl: 20,
        loop_wait: 5,
        retry_timeout: 5,
        synchronous_mode: true,
        synchronous_mode_strict: true,
        postgresql: { use_pg_rewind: true, parameters: { max_connections: 200 } },
      },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C' }, 'data-checksums'],
    },
    postgresql: {
      listen: `127.0.0.1:${node.port}`,
      connect_address: `127.0.0.1:${node.port}`,
      data_dir: join(node.directory, 'data'),
      bin_dir: binDir,
      pgpass: join(node.directory, 'pgpass'),
      authentication: {
        superuser: { username: 'postgres', password },
        replication: { username: 'replicator', password },
      },
      parameters: { unix_socket_directories: '' },
      pg_hba: [
        'host all all 127.0.0.1/32 scram-sha-256',
        'host replication replicator 127.0.0.1/32 scram-sha-256',
      ],
      // If a node cannot be rewound to the point where the new leader began, it is copied again.
      remove_data_directory_on_rewind_failure: true,
      remove_data_directory_on_diverged_timelines: true,
    },
  };
}

/**
 * The configuration of HAProxy. HAProxy connects clients to the node that says that it is the primary, and ends
 * connections to the other nodes.
 */
export function haproxyConfiguration(port: number, nodes: readonly Node[]): string {
  const servers = nodes.map(
    (node) => `  server ${node.name} 127.0.0.1:${node.port} check port ${node.api}`,
  );
  return `
global
  maxconn 1000
defaults
  mode tcp
  timeout connect 2s
  timeout client 30m
  timeout server 30m
  timeout check 2s
listen primary
  bind 127.0.0.1:${port}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
${servers.join('\n')}
`;
}
