import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EmbeddedPostgres } from '../../src/embedded/index.js';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { chooseAccount, giveTo } from '../../src/embedded/server.account.js';
import { ConfigurationError } from '../../src/errors.js';
import { Boot, bootOnce, failedBoot, migration } from '../connection/boot.js';

const directory = mkdtempSync(join(tmpdir(), 'frameforge-tls-'));
const file = (name: string): string => join(directory, name);
const openssl = (...args: string[]): unknown =>
  execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });

let ca: string;
let right: EmbeddedPostgres;
let wrong: EmbeddedPostgres;
beforeAll(async () => {
  chmodSync(directory, 0o711);
  // An authority of our own, which no system trusts.
  openssl(
    ...`req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority`.split(' '),
    ...key('ca'),
  );
  ca = readFileSync(file('ca.crt'), 'utf8');
  [right, wrong] = await Promise.all([
    serverFor('right', 'IP:127.0.0.1'),
    serverFor('wrong', 'DNS:elsewhere.example'),
  ]);
});
afterAll(async () => {
  await Promise.all([right.stop(), wrong.stop()]);
  rmSync(directory, { recursive: true });
});

const key = (name: string): string[] => ['-keyout', `${name}.key`, '-out', `${name}.crt`];

/** A server with a certificate of the authority for a name. */
function serverFor(name: string, subject: string): Promise<EmbeddedPostgres> {
  const request = ['req', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`];
  openssl(...request, '-keyout', `${name}.key`, '-out', `${name}.csr`);
  writeFileSync(file(`${name}.ext`), `subjectAltName=${subject}`);
  const authority = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
  const sign = ['x509', '-req', '-in', `${name}.csr`, '-extfile', `${name}.ext`];
  openssl(...sign, ...authority, '-out', `${name}.crt`);
  for (const kind of ['key', 'crt']) {
    chmodSync(file(`${name}.${kind}`), 0o600);
    giveTo(chooseAccount(undefined), file(`${name}.${kind}`));
  }
  return startEmbeddedPostgres({
    settings: { ssl: 'on', ssl_cert_file: file(`${name}.crt`), ssl_key_file: file(`${name}.key`) },
  });
}

it('encrypts every connection of a boot, that of the lock too, and verifies the server', async () => {
  const connections: unknown[] = [];
  const spy = migration('Spy1600000000000', async (runner) => {
    const rows = (await runner.query(
      `SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
       WHERE datname = current_database() AND backend_type = 'client backend'`,
    )) as { ssl: boolean }[];
    connections.push(...rows.map(({ ssl }) => ssl));
  });
  await bootOnce({ url: right.url, ssl: { ca }, migrations: [spy] });
  expect(connections).toEqual([true, true]);
});

describe('verification is on when ssl is asked for', () => {
  it('by the option: an authority that is not known is refused at once, with the remedy', async () => {
    const { error, told } = await failedBoot({ url: right.url, ssl: true });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toMatch(
      /^Booting on 127\.0\.0\.1:\d+\/frameforge could not verify the certificate of the database's server: unable to verify the first certificate\. Give the certificate of the authority that issued it, as ssl: \{ ca \}, and connect by the host name that it is for\.$/,
    );
    expect(told).toEqual([]);
  });

  it('by DB_SSL', async () => {
    const { env } = process;
    process.env = { ...env, DATABASE_URL: right.url, DB_SSL: 'true' };
    try {
      const { error } = await failedBoot({});
      expect(error.message).toContain('unable to verify the first certificate');
    } finally {
      process.env = env;
    }
  });

  it('of the name, too', async () => {
    const { error, told } = await failedBoot({ url: wrong.url, ssl: { ca } });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(`IP: 127.0.0.1 is not in the cert's list`);
    expect(error.message).toContain('connect by the host name that it is for');
    expect(told).toEqual([]);
  });
});

it('verifies nothing when it is told not to', async () => {
  const dataSource = await new Boot().open({ url: wrong.url, ssl: { rejectUnauthorized: false } });
  const [row] = await dataSource.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
  await dataSource.destroy();
  expect(row).toEqual({ ssl: true });
});
