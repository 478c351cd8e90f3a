import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { ConsumerProject, current, packPackage } from '../consumer/consumer.project.js';
import type { PackedPackage } from '../consumer/consumer.project.js';
import { blocksOf } from '../readme/readme.blocks.js';
import { query } from '../support/query.js';
import { filesOf, packagesOf } from './consumer.blocks.js';
import { expectSoon, TestPlace } from './test.run.js';

const JEST = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js'] as const;
const VITEST = ['node_modules/vitest/vitest.mjs', 'run'] as const;
const INSTALLING_MS = 600_000;

/** A test file for Jest and for Vitest, that leaves all closing to the end of the file. */
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

/** Never ends. */
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

let packed: PackedPackage;
let project: ConsumerProject;
beforeAll(async () => {
  packed = await packPackage();
  const nest = ['common', 'core', 'platform-express'].map((name) => `@nestjs/${name}`);
  const present = [...nest, 'reflect-metadata', 'rxjs', '@types/node', 'jest'];
  project = await ConsumerProject.create('module', present.map(current));
  await project.install(['--ignore-scripts', packed.tarball, ...packagesOf().map(current)]);
  await project.install(['--ignore-scripts', '--save-dev', 'vitest']);
  for (const [file, text] of filesOf()) project.write(file, text);
  const app = blocksOf('README.md').find(({ file }) => file === 'src/app.module.ts');
  project.write('src/app.module.ts', String(app?.text));
  await project.compile();
  const suite = ['a', 'b', 'c', 'd'].map((name) => `suite/${name}.test.js`);
  for (const file of suite) project.write(file, GLOBALS);
  for (const name of ['a', 'b']) {
    project.write(
      `node/${name}.test.js`,
      `import { test } from 'node:test';\n${GLOBALS.replaceAll(', 60_000', '')}`,
    );
    project.write(`hang/${name}.test.js`, HANGING);
  }
  project.write('suite/jest.config.js', 'export default { transform: {} };');
  project.write('suite/vitest.config.js', 'export default { test: { globals: true } };');
  project.write('hang/jest.config.js', 'export default { transform: {} };');
}, INSTALLING_MS);
afterAll(() => {
  project?.remove();
  packed?.remove();
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
});
/** The databases that the tests told of. */
const urls = (): string[] => readFileSync(log, 'utf8').split('\n').filter(Boolean);
const portsOf = (all: string[]): Set<string> => new Set(all.map((url) => new URL(url).port));

const RUNNERS = [
  ['Jest with its setup', ['node', ...JEST, '--rootDir=suite', '-w=2']],
  ['Jest without a setup', ['node', ...JEST, '--config=suite/jest.config.js', '-w=2']],
  ['Jest in one process', ['node', ...JEST, '--config=suite/jest.config.js', '-i']],
  ['Vitest with its setup', ['node', ...VITEST, '--dir=suite']],
  ['Vitest without a setup', ['node', ...VITEST, '--root=suite']],
  ['node --test', ['node', '--test', 'node/a.test.js', 'node/b.test.js']],
] as const;

it('runs the documented tests', async () => {
  const { code, stderr } = await project.run(['node', ...JEST], env());
  expect(stderr).toMatch(/Tests: +6 passed, 6 total/);
  expect(code).toBe(0);
  // The teardown has waited for the end of the server.
  expect(place.files()).toEqual([]);
});

describe.each(RUNNERS)('%s', (name, command) => {
  it('has one server for all files, and leaves nothing', async () => {
    await project.runOk(command, env());
    const all = urls();
    expect(all).toHaveLength(name === 'node --test' ? 4 : 8);
    expect(new Set(all).size).toBe(all.length);
    expect(portsOf(all).size).toBe(1);
    await place.expectNothingLeft();
  });

  it('drops at the end of a file what the file has not', async () => {
    const server = await startEmbeddedPostgres();
    try {
      await project.runOk(command, { ...env(), TEST_DATABASE_URL: server.url });
      expect(portsOf(urls())).toEqual(portsOf([server.url]));
      const rows = await query(server.url, 'SELECT datname FROM pg_database');
      const left = rows.map(({ datname }) => String(datname));
      expect(left.filter((database) => database.startsWith('frameforge_test_'))).toEqual([]);
      const templates = left.filter((database) => database.startsWith('frameforge_template_'));
      expect(templates).toHaveLength(name.endsWith('with its setup') ? 0 : 1);
    } finally {
      await server.stop();
    }
  });
});

/** Jest with two workers, when each has a database. */
async function hangingRun(...options: string[]): Promise<ChildProcess> {
  const child = spawn('node', [...JEST, ...options, '-w=2'], {
    cwd: project.directory,
    env: { ...process.env, NODE_OPTIONS: '', ...env() },
    stdio: 'ignore',
    // As a terminal does it: Ctrl-C is for all of the group.
    detached: true,
  });
  await expectSoon(() => expect(urls()).toHaveLength(2));
  return child;
}
const endGroup = ({ pid }: ChildProcess, signal: NodeJS.Signals): void => {
  process.kill(-Number(pid), signal);
};

describe('a run that is ended', () => {
  it.each([
    ['by Ctrl-C', ['--rootDir=hang']],
    ['by Ctrl-C, without a setup', ['--config=hang/jest.config.js']],
  ])('%s leaves nothing', async (_name, options) => {
    const child = await hangingRun(...options);
    endGroup(child, 'SIGINT');
    await once(child, 'exit');
    await place.expectNothingLeft();
  });

  it.each([
    ['by SIGKILL', ['--rootDir=hang']],
    ['by SIGKILL, without a setup', ['--config=hang/jest.config.js']],
  ])('%s leaves nothing, although its workers go on', async (_name, options) => {
    const child = await hangingRun(...options);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await place.expectNothingLeft().finally(() => endGroup(child, 'SIGKILL'));
  });
});

it('keeps the server from one run to the next in watch mode, and leaves nothing', async () => {
  const child = spawn('node', [...JEST, '--rootDir=suite', '--watchAll', '-w=2'], {
    cwd: project.directory,
    env: { ...process.env, NODE_OPTIONS: '', ...env(), CI: '' },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const runs = (): number => said.split('Ran all test suites').length - 1;
  await expectSoon(() => expect(runs()).toBe(1));
  appendFileSync(join(project.directory, 'suite/a.test.js'), '// changed\n');
  await expectSoon(() => expect(runs()).toBe(2));
  expect(urls()).toHaveLength(16);
  expect(portsOf(urls()).size).toBe(1);
  child.kill('SIGINT');
  await once(child, 'exit');
  await place.expectNothingLeft();
});
