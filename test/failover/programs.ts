import { existsSync } from 'node:fs';

export const ETCD = '/usr/bin/etcd';
export const PATRONI = '/usr/bin/patroni';
export const HAPROXY = '/usr/sbin/haproxy';
export const POSTGRES_BIN = '/usr/lib/postgresql/15/bin';

/** The programs of the cluster: where Debian installs each one, and its package. */
const PACKAGES = {
  [ETCD]: 'etcd-server',
  [PATRONI]: 'patroni',
  // Patroni needs this to reach etcd, but its own package does not include it.
  '/usr/lib/python3/dist-packages/etcd': 'python3-etcd',
  [HAPROXY]: 'haproxy',
  [`${POSTGRES_BIN}/postgres`]: 'postgresql-15',
};

/** Checks that all programs are installed. @throws an error that names the missing packages */
export function checkPrograms(): void {
  const missing = Object.entries(PACKAGES)
    .filter(([file]) => !existsSync(file))
    .map(([, name]) => name);
  if (missing.length === 0) return;
  throw new Error(
    'The failover test needs programs of Debian 12 that are not here. Install them with: ' +
      `apt-get install --no-install-recommends ${missing.join(' ')}`,
  );
}
