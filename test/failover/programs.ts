import { existsSync } from 'node:fs';

/** Where Debian installs what the cluster is made of, and by which package. */
const PROGRAMS = {
  '/usr/bin/etcd': 'etcd-server',
  '/usr/bin/patroni': 'patroni',
  // Patroni's way to etcd; it is only recommended by the package of Patroni.
  '/usr/lib/python3/dist-packages/etcd': 'python3-etcd',
  '/usr/sbin/haproxy': 'haproxy',
  '/usr/lib/postgresql/15/bin/postgres': 'postgresql-15',
};

export const ETCD = '/usr/bin/etcd';
export const PATRONI = '/usr/bin/patroni';
export const HAPROXY = '/usr/sbin/haproxy';
export const POSTGRES_BIN = '/usr/lib/postgresql/15/bin';

/** @throws what to install, if something is missing */
export function checkPrograms(): void {
  const missing = Object.entries(PROGRAMS)
    .filter(([file]) => !existsSync(file))
    .map(([, name]) => name);
  if (missing.length === 0) return;
  throw new Error(
    `The failover test needs programs of Debian 12 that are not here. Install them with: ` +
      `apt-get install --no-install-recommends ${missing.join(' ')}`,
  );
}
