import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import type { EmbeddedPostgres } from '../../src/embedded/index.js';
import { ConsumerProject, current } from '../consumer/consumer.project.js';
import { packPackage } from '../consumer/packed.package.js';
import type { PackedPackage } from '../consumer/packed.package.js';
import { query } from '../support/query.js';
import { otherDatabase } from '../support/server.js';
import { filesOf, packagesOf } from './consumer.blocks.js';
import { expectSoon, TestPlace, withoutRun } from './test.run.js';

const JEST = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js'] as const;
const VITEST = ['node_modules/vitest/vitest.mjs', 'run'] as const;
const INSTALLING_MS = 600_000;

/** A test file for Jest and for Vitest. It closes nothing itself: the package does so at the end of the file. */
const GLOBALS = `
import { createTestDatabase, createTestingApp, userFixture } from '@frameforge/shared-types/testing';
import { appendFileSync } from 'node:fs';
import { DataSource } from 'typeorm';

const tell = (url) => appendFileSync(process.env.LOG, url + '\\n');

test('a database', async () => {
  const database = await createTestDatabase();
  tell(database.url);
  await userFixture({ username: 'ada' }).persist(await database.dataSource());
}, 60_000);

test('an application', async () => {
  const app = await createTestingApp();
  tell(app.database.url);
  await userFixture({ username: 'ada' }).persist(app.get(DataSource));
}, 60_000);
`;

/** A test file whose test never ends. */
const HANGING = `
import { createTestDatabase } from '@frameforge/shared-types/testing';
import { appendFileSync } from 'node:fs';

test('hangs', async () => {
  const database = await createTestDatabase();
  await database.dataSource();
  appendFileSync(process.env.LOG, database.url + '\\n');
  await new Promise((resolve) => setTimeout(resolve, 600_000));
}, 600_000);
`;

/**
 * A test file with a migration that reads its SQL from a file. The test records the name of the column that the
 * migration makes.
 */
const READING = `
import { createTestDatabase } from '@frameforge/shared-types/testing';
import { appendFileSync, readFileSync } from 'node:fs';

class CreateTags1800000001000 {
  name = 'CreateTags1800000001000';
  up = (queryRunner) => queryRunner.query(readFileSync('watch/table.sql', 'utf8'));
  down = async () => {};
}

test('a migration', async () => {
  const database = await createTestDatabase({ migrations: [CreateTags1800000001000] });
  const found = \`SELECT column_name AS name FROM information_schema.columns
    WHERE table_name = 'tags'\`;
  const [{ name }] = await (await database.dataSource()).query(found);
  appendFileSync(process.env.LOG, name + ' ' + database.url + '\\n');
}, 60_000);
`;

const SUITE = ['a', 'b', 'c'];
const HANG = ['a', 'b'];
/** The same test for `node --test`, which has no globals and no time limit. */
const forNode = (text: string): string =>
  `import { test } from 'node:test';\n${text.replaceAll(/, \d+_000\);$/gm, ');')}`;

let packed: PackedPackage;
let project: ConsumerProject;
let server: EmbeddedPostgres;
beforeAll(async () => {
  [packed, server] = await Promise.all([packPackage(), startEmbeddedPostgres()]);
  const nest = ['common', 'core', 'platform-express'].map((name) => `@nestjs/${name}`);
  const present = [...nest, 'reflect-metadata', 'rxjs', 'jest', '@types/jest'];
  const documented = packagesOf();
  project = await ConsumerProject.create('module', [
    '--ignore-scripts',
    packed.tarball,
    ...[...present, ...documented].map(current),
    // The newest versions that run on this Node, and the types that they need.
    'vitest',
    '@types/node',
  ]);
  for (const [file, text] of filesOf()) project.write(file, text);
  project.write('src/globals.d.ts', '/// <reference types="jest" />');
  await project.compile();
  for (const name of SUITE) project.write(`suite/${name}.test.js`, GLOBALS);
  project.write('watch/a.test.js', READING);
  for (const name of HANG) {
    project.write(`hang/${name}.test.js`, HANGING);
    project.write(`node/${name}.test.js`, forNode(GLOBALS));
    project.write(`hang-node/${name}.test.js`, forNode(HANGING));
  }
  for (const directory of ['suite', 'hang']) {
    project.write(`${directory}/jest.config.js`, 'export default { transform: {} };');
    project.write(`${directory}/vitest.config.js`, 'export default { test: { globals: true } };');
  }
}, INSTALLING_MS);
afterAll(async () => {
  project?.remove();
  await server?.stop();
});

let place: TestPlace;
let log: string;
beforeEach(() => {
  place = new TestPlace();
  log = join(project.directory, 'log.txt');
  writeFileSync(log, '');
});
afterEach(() => place.remove());

const env = (): NodeJS.ProcessEnv => ({
  TEST_DATABASE_URL: '',
  TMPDIR: place.directory,
  LOG: log,
  CI: 'true',
  NO_COLOR: '1',
});
/** The databases that the tests have recorded. */
const urls = (): string[] => readFileSync(log, 'utf8').split('\n').filter(Boolean);
/** The databases that `startEmbeddedPostgres` creates. */
const OWN = [{ name: 'frameforge' }];
const leftOnServer = async (prefix: string): Promise<unknown[]> => {
  const rows = await query(server.url, 'SELECT datname AS name FROM pg_database');
  return rows.filter(({ name }) => String(name).startsWith(prefix));
};
const portsOf = (all: string[]): Set<string> => new Set(all.map((url) => new URL(url).port));

const NODE_FILES = HANG.map((name) => `node/${name}.test.js`);
const HANGING_FILES = HANG.map((name) => `hang-node/${name}.test.js`);
const NODE_TEST = ['--test', '--test-concurrency=2'];
const NODE_TEST_WITH_SETUP = [...NODE_TEST, '--test-global-setup=./setup.js'];
/** Before Node 24, `node --test` has no common setup. */
const hasNodeSetup = Number.parseInt(process.versions.node, 10) >= 24;

type Runner = [name: string, hasSetup: boolean, command: string[]];

const RUNNERS: Runner[] = [
  ['Jest with its setup', true, [...JEST, '--rootDir=suite', '-w=2']],
  ['Jest without a setup', false, [...JEST, '--config=suite/jest.config.js', '-w=2']],
  ['Jest in one process', false, [...JEST, '--config=suite/jest.config.js', '-i']],
  ['Vitest with its setup', true, [...VITEST, '--dir=suite', '--maxWorkers=2']],
  ['Vitest without a setup', false, [...VITEST, '--root=suite', '--maxWorkers=2']],
  ['node --test without a setup', false, [...NODE_TEST, ...NODE_FILES]],
];
if (hasNodeSetup) {
  RUNNERS.push(['node --test with its setup', true, [...NODE_TEST_WITH_SETUP, ...NODE_FILES]]);
}

describe('the documented tests', () => {
  it('run in Jest, compiled', async () => {
    const { code, stderr } = await project.run(['node', ...JEST], env());
    expect(stderr).toMatch(/Tests: +7 passed, 7 total/);
    expect(code).toBe(0);
    // The teardown has waited for the end of the server.
    expect(place.files()).toEqual([]);
  });

  it('run in Vitest, as they are', async () => {
    const stdout = await project.runOk(['node', ...VITEST, '--dir=src'], env());
    expect(stdout).toMatch(/Tests +7 passed \(7\)/);
    expect(place.files()).toEqual([]);
  });
});

describe.each(RUNNERS)('%s', (name, hasSetup, command) => {
  const files = name.startsWith('node --test') ? HANG : SUITE;

  it('has one server for all files with a setup, and one for each file without it, and leaves nothing', async () => {
    await project.runOk(['node', ...command], env());
    const all = urls();
    expect(all).toHaveLength(2 * files.length);
    expect(new Set(all).size).toBe(all.length);
    expect(portsOf(all).size).toBe(hasSetup ? 1 : files.length);
    await place.expectNothingLeft();
  });

  it('drops at the end of a file the databases that the file has not dropped', async () => {
    await project.runOk(['node', ...command], { ...env(), TEST_DATABASE_URL: server.url });
    expect(portsOf(urls())).toEqual(portsOf([server.url]));
    expect(await leftOnServer('frameforge')).toEqual(OWN);
  });
});

/** A run of two test files at the same time, when each has a database. */
async function hangingRun(command: readonly string[], databaseUrl = ''): Promise<ChildProcess> {
  const child = spawn('node', command, {
    cwd: project.directory,
    env: {
      ...withoutRun(process.env),
      NODE_OPTIONS: '',
      ...env(),
      TEST_DATABASE_URL: databaseUrl,
    },
    stdio: 'ignore',
    // Like a terminal at Ctrl-C, this sends the signal to all processes of the group.
    detached: true,
  });
  try {
    await expectSoon(() => expect(urls()).toHaveLength(HANG.length));
    return child;
  } catch (error) {
    endGroup(child, 'SIGKILL');
    throw error;
  }
}
const endGroup = ({ pid }: ChildProcess, signal: NodeJS.Signals): void => {
  process.kill(-Number(pid), signal);
};

const HANGING_RUNS: Runner[] = [
  ['Jest with its setup', true, [...JEST, '--rootDir=hang', '-w=2']],
  ['Jest without a setup', false, [...JEST, '--config=hang/jest.config.js', '-w=2']],
  ['Vitest with its setup', true, [...VITEST, '--dir=hang', '--maxWorkers=2']],
  ['Vitest without a setup', false, [...VITEST, '--root=hang', '--maxWorkers=2']],
  ['node --test without a setup', false, [...NODE_TEST, ...HANGING_FILES]],
];
if (hasNodeSetup) {
  const command = [...NODE_TEST_WITH_SETUP, ...HANGING_FILES];
  HANGING_RUNS.push(['node --test with its setup', true, command]);
}

describe.each(HANGING_RUNS)('a run of %s', (_name, hasSetup, command) => {
  it('that is ended by Ctrl-C leaves nothing', async () => {
    const child = await hangingRun(command);
    endGroup(child, 'SIGINT');
    await once(child, 'exit');
    await place.expectNothingLeft().finally(() => endLeft(child));
  });

  it('that is ended by SIGKILL leaves nothing, although its workers go on', async () => {
    const child = await hangingRun(command);
    child.kill('SIGKILL');
    await once(child, 'exit');
    if (!hasSetup) endLeft(child);
    await place.expectNothingLeft().finally(() => endLeft(child));
  });
});

it.each(['SIGINT', 'SIGKILL'] as const)(
  'a run on the server of TEST_DATABASE_URL that is ended by %s leaves databases, and the next run removes them',
  async (signal) => {
    const child = await hangingRun([...JEST, '--rootDir=hang', '-w=2'], server.url);
    endGroup(child, signal);
    await once(child, 'exit');
    const next = ['node', ...JEST, '--rootDir=suite', '-w=2'] as const;
    await project.runOk(next, { ...env(), TEST_DATABASE_URL: server.url });
    expect(await leftOnServer('frameforge')).toEqual(OWN);
  },
);

/** Ends the processes that a run has left, if there are any. */
function endLeft(child: ChildProcess): void {
  try {
    endGroup(child, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const WATCHING = [
  ['Jest', [...JEST, '--rootDir=watch', '--watchAll', '-w=2'], 'Ran all test suites'],
  [
    'Vitest',
    ['node_modules/vitest/vitest.mjs', 'watch', '--dir=watch'],
    'Waiting for file changes',
  ],
] as const;

it.each(WATCHING)(
  'in watch mode, %s keeps the server for all runs, migrates again in each, and leaves nothing',
  async (name, command, said) => {
    const column = (named: string): void =>
      project.write('watch/table.sql', `CREATE TABLE tags (${named} integer)`);
    column('before');
    const child = spawn('node', command, {
      cwd: project.directory,
      env: { ...withoutRun(process.env), NODE_OPTIONS: '', ...env(), CI: '' },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const runs = (): number => output.split(said).length - 1;
    await expectSoon(() => expect(runs()).toBe(1));
    // Jest says so before it calls the teardown, and until it is done Jest overlooks changes. In watch mode the teardown
    // removes the templates.
    if (name === 'Jest') {
      const admin = otherDatabase(String(urls()[0]?.split(' ')[1]), 'postgres');
      const templates = `SELECT FROM pg_database WHERE datname LIKE '%template\\_%'`;
      await expectSoon(async () => expect(await query(admin, templates)).toEqual([]));
    }
    column('after');
    appendFileSync(join(project.directory, 'watch/a.test.js'), '// changed\n');
    await expectSoon(() => expect(runs()).toBe(2));
    const told = urls().map((line) => line.split(' '));
    expect(told.map(([named]) => named)).toEqual(['before', 'after']);
    expect(portsOf(told.map(([, url]) => String(url))).size).toBe(1);
    child.kill('SIGINT');
    await once(child, 'exit');
    await place.expectNothingLeft();
  },
);
