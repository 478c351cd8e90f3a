import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { createDatabase } from '../support/server.js';
import { query } from '../support/query.js';
import { ConsumerProject, current, manifest, runOk } from '../consumer/consumer.project.js';
import { packPackage } from '../consumer/packed.package.js';
import type { PackedPackage } from '../consumer/packed.package.js';
import { CONTEXT, programOf, SUPPORT, USES } from './block.uses.js';
import { blocksOf, TESTING_HEADING } from './readme.blocks.js';
import type { Block } from './readme.blocks.js';

/** Those on testing are an application of their own, which test/testing/consumer.e2e.ts runs. */
const BLOCKS = blocksOf('README.md').filter(({ place }) => !place.startsWith(TESTING_HEADING));
const of = (kind: string): Block[] => BLOCKS.filter((block) => block.kind === kind);
const programName = ({ place }: Block): string =>
  `use.${place.toLowerCase().replaceAll(/\W+/g, '-')}`;

const PACKAGE = '@frameforge/shared-types';

let packed: PackedPackage;
let project: ConsumerProject;
beforeAll(async () => {
  packed = await packPackage();
  // What `nest new` installs. The other peers are for npm to install, as the README says.
  const nest = ['common', 'core', 'platform-express'].map((name) => `@nestjs/${name}`);
  const present = [...nest, 'reflect-metadata', 'rxjs', '@types/node'];
  project = await ConsumerProject.create('module', present.map(current));
  for (const line of of('bash').flatMap(linesOf)) {
    const words = /^npm install (.+)$/.exec(line)?.[1]?.split(' ');
    if (words)
      await project.install(words.map((word) => (word === PACKAGE ? packed.tarball : word)));
  }
  project.write('src/support.ts', SUPPORT);
  project.write('src/context.ts', CONTEXT);
  for (const block of of('ts')) {
    if (block.file !== undefined) project.write(block.file, exported(block));
    project.write(
      `src/${programName(block)}.ts`,
      programOf(block, USES[block.file ?? block.place] ?? ''),
    );
  }
  await project.compile();
}, 300_000);
afterAll(() => {
  project?.remove();
});

const linesOf = ({ text }: Block): string[] =>
  text
    .split('\n')
    .map((line) => line.replace(/ # .*$/, '').trim())
    .filter((line) => line !== '');

/** A main file keeps what it made to itself; its use has to close it. */
const exported = ({ text }: Block): string => text.replace(/^const app = /m, 'export const app = ');

async function inDatabase(use: (url: string) => Promise<void>): Promise<void> {
  const database = await createDatabase();
  try {
    await use(database.url);
  } finally {
    await database.drop();
  }
}

it('has no block of a kind that no test runs', () => {
  const kinds = new Set(BLOCKS.map(({ kind }) => kind));
  // The diagrams are compared with the database in readme.diagrams.test.ts.
  expect([...kinds].toSorted()).toEqual(['bash', 'mermaid', 'text', 'ts']);
});

it('has a use for every block of TypeScript, and none besides', () => {
  const needed = of('ts').map(({ file, place }) => file ?? place);
  expect(Object.keys(USES).toSorted()).toEqual(needed.toSorted());
  expect(new Set(needed).size).toBe(needed.length);
});

describe('TypeScript', () => {
  it.each(of('ts').map((block) => [block.file ?? block.place, block] as const))(
    'runs: %s',
    async (_name, block) =>
      inDatabase(async (url) => {
        await project.runOk(['node', `dist/${programName(block)}.js`], { DATABASE_URL: url });
      }),
  );
});

describe('the shell', () => {
  it('has only commands that are run here', () => {
    const others = of('bash')
      .flatMap(linesOf)
      .filter(
        (line) =>
          !/^(?:npm install (?:--save-dev )?[@\w/ -]+$|npx )|^npm ci && npm (?:test|run demo)$/.test(
            line,
          ),
      );
    expect(others).toEqual([]);
  });

  it('npm ci && npm test is what runs this', () => {
    expect(of('bash').flatMap(linesOf)).toContain('npm ci && npm test');
    expect(manifest.scripts['test']).toContain('jest');
  });

  it.each(of('bash').filter(({ text }) => /^npx /m.test(text)))('runs: $place', (block) =>
    inDatabase(async (url) => {
      for (const line of linesOf(block)) {
        const [file = 'npx', ...words] = line.split(' ');
        await project.runOk([file, ...words], { DATABASE_URL: url });
      }
      // All have run, and the newest is reverted.
      const applied = await query(url, 'SELECT name FROM migrations ORDER BY id');
      const known = frameForgeMigrations.map(({ name }) => ({ name }));
      expect(applied).toEqual(known.slice(0, -1));
    }),
  );
});

/** All but how long it took. */
const comparable = (text: string): string => text.replaceAll(/\(\d+\.\d s\)/g, '(… s)').trim();

/** `npm run demo` without the build, which packing has done: other test files use it. */
const demonstration = (url: string): Promise<string> => {
  const [, command = ''] = manifest.scripts['demo']?.split('npm --silent run build && ') ?? [];
  return runOk(packed.checkout, command.split(' ') as [string], { DATABASE_URL: url });
};

it('shows what the demonstration prints', async () => {
  const [shown, ...more] = of('text');
  expect(more).toEqual([]);
  expect(comparable(shown?.text ?? '')).toBe(comparable(await demonstration('')));
});

it('has a demonstration that ends with a reason and exit code 1 when it fails', async () => {
  const running = demonstration('postgres://nobody:nothing@127.0.0.1:1/nowhere');
  await expect(running).rejects.toThrow(/ended with code 1:[^]*✘[^]*ECONNREFUSED/);
});
