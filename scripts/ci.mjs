// What .ci/run runs after `npm ci`: the stages below, one after the other, each a command that ends
// with a line "N passed, N failed" (or counts as one check by its exit code), and their total.
// To add a proof, add a line to STAGES. All stages run, also after one that fails.
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { heading, outcome, run, Tally } from './tally.mjs';

const MINUTES = 60_000;
/** How long a process may take to end after its stage, in ms. */
const PATIENCE_MS = 30_000;
/** The tests that depend on what the server does. */
const DATABASE_TESTS = [
  'schema',
  'migrations',
  'sql',
  'jobs',
  'notifications',
  'connection',
  'errors',
  'module',
].map((name) => `test/${name}`);
const ON_POSTGRES_15 = ['node', 'scripts/on-postgres.mjs', '/usr/lib/postgresql/15/bin'];
const TYPESCRIPT = './test/support/typescript.mjs';
const THROUGH_PGBOUNCER = ['node', '--import', TYPESCRIPT, 'scripts/through-pgbouncer.mjs'];

/**
 * All tests except the slow ones. The folders that depend most on Node keep their slow tests: they start
 * processes, open connections, or use its timers.
 */
const ON_ANOTHER_NODE = [
  'node',
  'scripts/jest.mjs',
  '--maxWorkers',
  '3',
  '--testPathIgnorePatterns',
  '^(?!.*/test/(cli|boot|module|connection|sql|worker)/).*\\.slow\\.test\\.ts$',
];

/** Each stage is ended after its minutes. These are several times what it takes, because the machine may be slow or busy. */
const STAGES = [
  { name: 'npm run check', command: ['npm', '--silent', 'run', 'check'], minutes: 40 },
  {
    name: 'the database tests on PostgreSQL 15',
    command: [...ON_POSTGRES_15, 'node', 'scripts/jest.mjs', ...DATABASE_TESTS],
    minutes: 15,
  },
  ...[22, 26].map((version) => ({
    name: `the tests that may depend on it, on Node ${version}`,
    command: ['node', 'scripts/on-node.mjs', String(version), ...ON_ANOTHER_NODE],
    minutes: 20,
  })),
  {
    name: 'all tests through PgBouncer in transaction mode',
    command: [...THROUGH_PGBOUNCER, 'node', 'scripts/jest.mjs'],
    minutes: 40,
  },
  {
    name: 'applications of NestJS 10, 11 and 12 that install the package',
    command: ['npm', '--silent', 'run', 'test:matrix', '--', '--corners'],
    minutes: 15,
  },
  {
    name: 'the example with real videos and e-mails',
    command: ['npm', '--silent', 'run', 'test:examples'],
    minutes: 15,
  },
  {
    name: 'replicas that boot together, and that are killed while they migrate',
    command: ['npm', '--silent', 'run', 'test:boot'],
    minutes: 25,
  },
  {
    name: 'processes that are killed, blocked and cut off, and 2,000 schedules of late writes',
    command: ['npm', '--silent', 'run', 'test:e2e'],
    minutes: 30,
  },
  {
    name: "the console and the site of the documentation in Debian's Chromium",
    command: ['npm', '--silent', 'run', 'test:browser'],
    minutes: 25,
  },
  {
    name: 'the ledger under fire, for 20 s',
    command: ['npm', '--silent', 'run', 'chaos', '--', '--seconds', '20'],
    minutes: 10,
  },
  {
    name: 'the ledger through the failovers of a Patroni cluster',
    command: ['npm', '--silent', 'run', 'test:failover'],
    minutes: 15,
  },
  {
    name: 'the site of the documentation, the texts of the API and all links',
    command: ['npm', '--silent', 'run', 'docs'],
    minutes: 10,
  },
  // This checks that the bench still works. It asserts no time.
  { name: 'npm run bench:smoke', command: ['npm', '--silent', 'run', 'bench:smoke'], minutes: 10 },
];

/** An environment variable that all processes of the stages inherit. */
const MARK = `FRAMEFORGE_CI_RUN=${randomUUID()}`;
const [markName, markValue] = MARK.split('=');

const tally = new Tally();
for (const { name, command, minutes } of STAGES) {
  heading(name);
  const ended = await run(command, {
    env: { [markName]: markValue },
    timeoutMs: minutes * MINUTES,
  });
  tally.add(name, outcome(ended));
}
heading('nothing is left running');
tally.add('nothing is left running', await nothingLeftRunning());
tally.end();

async function nothingLeftRunning() {
  let left = marked();
  for (const end = Date.now() + PATIENCE_MS; left.length > 0 && Date.now() < end;) {
    await sleep(100);
    left = marked();
  }
  for (const { pid, commandLine } of left) process.stdout.write(`${pid} ${commandLine}\n`);
  return left.length === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** The processes of this run, found by their environment. */
function marked() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(MARK)) return [];
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return [{ pid, commandLine }];
    } catch {
      // The process has ended meanwhile.
      return [];
    }
  });
}
