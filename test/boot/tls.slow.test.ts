import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EmbeddedPostgres } from '../../src/embedded/index.js';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { chooseAccount, giveTo } from '../../src/embedded/server.account.js';
import { ConfigurationError } from '../../src/errors.js';
import { Boot, bootOnce, failedBoot, migration } from '../connection/boot.js';
import { query } from '../support/query.js';

const directory = mkdtempSync(join(tmpdir(), 'frameforge-tls-'));
const file = (name: string): string => join(directory, name);
const openssl = (...args: string[]): unknown =>
  execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });

let ca: string;
let right: EmbeddedPostgres;
let wrong: EmbeddedPostgres;
beforeAll(async () => {
  chmodSync(directory, 0o711);
  // A certificate authority of this test, which no system trusts.
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

/** A server with a certificate of the authority for a name. @param more - further settings */
function serverFor(
  name: string,
  subject: string,
  more: Record<string, string> = {},
): Promise<EmbeddedPostgres> {
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
    settings: {
      ssl: 'on',
      ssl_cert_file: file(`${name}.crt`),
      ssl_key_file: file(`${name}.key`),
      ...more,
    },
  });
}

it('encrypts every connection of a boot, also the one that holds the lock, and verifies the server', async () => {
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
  it('by the option: an unknown authority is refused at once, and the message says what to do', async () => {
    const { error, told } = await failedBoot({ url: right.url, ssl: true });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toMatch(
      /^Booting on 127\.0\.0\.1:\d+\/frameforge could not verify the certificate of the database's server: unable to verify the first certificate(; if the root CA is installed locally, try running Node\.js with --use-system-ca)?\. Give the certificate of the authority that signed it: as ssl: \{ ca \}, in the environment \(NODE_EXTRA_CA_CERTS=<file>\), or in the URL \(\?sslmode=verify-full&sslrootcert=<file>\)\. Connect with the host name that the certificate is for\.$/,
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

  it('also of the host name', async () => {
    const { error, told } = await failedBoot({ url: wrong.url, ssl: { ca } });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(`IP: 127.0.0.1 is not in the cert's list`);
    expect(error.message).toContain('Connect with the host name that the certificate is for');
    expect(told).toEqual([]);
  });
});

it('verifies nothing when it is told not to', async () => {
  const dataSource = await new Boot().open({ url: wrong.url, ssl: { rejectUnauthorized: false } });
  const [row] = await dataSource.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
  await dataSource.destroy();
  expect(row).toEqual({ ssl: true });
});

const status = (env: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> =>
  new Promise((resolve) => {
    const command = ['--import', './test/support/typescript.mjs', 'src/cli/main.ts', 'status'];
    const options = { env: { ...process.env, ...env } };
    execFile(process.execPath, command, options, (error, out, err) =>
      resolve({ code: Number(error?.code ?? 0), output: out + err }),
    );
  });

describe('a command line can trust an authority of its own', () => {
  it('NODE_EXTRA_CA_CERTS', async () => {
    const refused = await status({ DATABASE_URL: right.url, DB_SSL: 'true' });
    expect(refused.code).toBe(1);
    expect(refused.output).toContain('NODE_EXTRA_CA_CERTS=<file>');
    const NODE_EXTRA_CA_CERTS = file('ca.crt');
    const env = { DATABASE_URL: right.url, DB_SSL: 'true', NODE_EXTRA_CA_CERTS };
    expect(await status(env)).toMatchObject({ code: 0 });
  });

  it('sslrootcert in the URL', async () => {
    const url = new URL(right.url);
    url.searchParams.set('sslmode', 'verify-full');
    url.searchParams.set('sslrootcert', file('ca.crt'));
    expect(await status({ DATABASE_URL: url.href })).toMatchObject({ code: 0 });
  });
});

it('an error says that the server accepts only connections with TLS', async () => {
  const rules = file('pg_hba.conf');
  // Every role but `postgres`, which starts the server, needs TLS.
  writeFileSync(
    rules,
    'host all postgres 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n',
  );
  chmodSync(rules, 0o644);
  const strict = await serverFor('strict', 'IP:127.0.0.1', { hba_file: rules });
  await query(strict.url, `CREATE ROLE app SUPERUSER LOGIN PASSWORD 'secret'`);
  const url = new URL(strict.url);
  url.username = 'app';
  url.password = 'secret';
  try {
    const { error, told } = await failedBoot({ url: url.href });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toMatch(
      /could not log in to the database: no pg_hba\.conf entry .*no encryption\. If the server accepts only encrypted connections, set `ssl: true`, DB_SSL=true, or \?sslmode=verify-full in the URL/,
    );
    expect(told).toEqual([]);
    await bootOnce({ url: url.href, ssl: { ca } });
  } finally {
    await strict.stop();
  }
});
