import { frameForgeMigrations } from '../../src/schema/migrations/index.js';
import { createDatabase } from '../support/server.js';
import { query } from '../support/query.js';
import { ConsumerProject, current, manifest, runOk } from '../consumer/consumer.project.js';
import { packPackage } from '../consumer/packed.package.js';
import type { PackedPackage } from '../consumer/packed.package.js';
import { CONTEXT, programOf, SUPPORT } from './block.programs.js';
import { USES } from './block.uses.js';
import { blocksOf, documents } from './readme.blocks.js';
import type { Block } from './readme.blocks.js';

/** Documents whose code blocks another test runs. */
const RUN_ELSEWHERE: Record<string, string> = {
  'docs/testing.md': 'test/testing/consumer.e2e.ts: the application that it shows',
  'docs/roles.md': 'test/boot/roles.test.ts: its SQL, as the roles that it makes',
};
/** Kinds of blocks that are not programs. */
const SHOWN = ['text', 'yaml'];

interface Placed extends Block {
  readonly document: string;
  /** `reference-options` for `docs/reference/options.md`: the folder of its programs. */
  readonly folder: string;
  /** The file that the block is, or its heading and its number under that heading. */
  readonly key: string;
}

const BLOCKS: Placed[] = documents()
  .filter((document) => RUN_ELSEWHERE[document] === undefined)
  .flatMap((document) => {
    const folder = document
      .replace(/^docs\//, '')
      .replace(/\.md$/, '')
      .replaceAll('/', '-')
      .toLowerCase();
    return blocksOf(document).map((block) => ({
      ...block,
      document,
      folder,
      key: block.file ?? block.place,
    }));
  });
const of = (...kinds: string[]): Placed[] => BLOCKS.filter(({ kind }) => kinds.includes(kind));
const programName = ({ folder, key }: Placed): string =>
  `${folder}/use.${key.toLowerCase().replaceAll(/\W+/g, '-')}`;
const titled = (block: Placed): [string, Placed] => [`${block.document}, ${block.key}`, block];

const PACKAGE = '@frameforge/shared-types';
/**
 * Files that other pages continue from. If a page does not show such a file, it has that of the first page that
 * shows it.
 */
const SHARED = ['src/app.module.ts', 'src/worker.module.ts'];

let packed: PackedPackage;
let project: ConsumerProject;
beforeAll(async () => {
  packed = await packPackage();
  // `nest new` installs these. npm installs the other peers, as the documents say.
  const nest = ['common', 'core', 'platform-express'].map((name) => `@nestjs/${name}`);
  const present = [...nest, 'reflect-metadata', 'rxjs', '@types/node'];
  project = await ConsumerProject.create('module', present.map(current));
  const installs = of('bash')
    .flatMap(linesOf)
    .map((line) => /^npm install (.+)$/.exec(line)?.[1]);
  for (const line of new Set(installs)) {
    const words = line?.split(' ').map((word) => (word === PACKAGE ? packed.tarball : word));
    if (words) await project.install(words);
  }
  project.write('src/support.ts', SUPPORT);
  project.write('src/context.ts', CONTEXT);
  for (const block of of('ts')) {
    const { document, folder, key, file } = block;
    for (const shared of SHARED) {
      const shows = of('ts').filter((other) => other.file === shared);
      const own = shows.find((other) => other.document === document) ?? shows[0];
      project.write(shared.replace(/^src/, `src/${folder}`), own?.text ?? '');
    }
    if (file !== undefined) project.write(file.replace(/^src/, `src/${folder}`), exported(block));
    project.write(`src/${programName(block)}.ts`, programOf(block, USES[document]?.[key] ?? ''));
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

/** A main file does not export the application that it makes. Its use needs it, to close it. */
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
  const others = BLOCKS.filter(({ kind }) => ![...SHOWN, 'bash', 'sql', 'ts'].includes(kind));
  expect(others.map(({ document, place, kind }) => `${document} ${place} ${kind}`)).toEqual([]);
});

it('has exactly one use for every block of TypeScript', () => {
  const needed = of('ts').map(({ document, key }) => `${document} ${key}`);
  const given = Object.entries(USES).flatMap(([document, uses]) =>
    Object.keys(uses).map((key) => `${document} ${key}`),
  );
  expect(given.toSorted()).toEqual(needed.toSorted());
  expect(new Set(needed).size).toBe(needed.length);
});

describe('TypeScript', () => {
  it.each(of('ts').map(titled))('runs: %s', async (_title, block) =>
    inDatabase(async (url) => {
      await project.runOk(['node', `dist/${programName(block)}.js`], { DATABASE_URL: url });
    }),
  );
});

describe('SQL', () => {
  it.each(of('sql').map(titled))('runs: %s', async (_title, { text }) =>
    inDatabase(async (url) => {
      await project.runOk(['npx', 'frameforge-db', 'migrate'], { DATABASE_URL: url });
      await query(url, text);
    }),
  );
});

describe('the shell', () => {
  const COMMANDS = [
    /^npm install (?:--save-dev )?[@\w/ -]+$/,
    /^npx /,
    // Contributors to this repository use these commands. Its tests and its CI run them.
    /^npm ci(?: && npm (?:test|run [\w:]+))?$/,
    /^npm test$/,
    /^npm run [\w:]+/,
    /^apt-get install /,
    // The use of src/dev.ts in the tutorial runs these.
    /^curl .*localhost:3000\/uploads/,
  ];

  it('has only commands that this test or another one runs', () => {
    const lines = of('bash').flatMap((block) => linesOf(block));
    expect(lines.filter((line) => !COMMANDS.some((command) => command.test(line)))).toEqual([]);
    const scripts = lines.flatMap((line) => [...line.matchAll(/npm run ([\w:]+)/g)]);
    expect(scripts.filter(([, name = '']) => manifest.scripts[name] === undefined)).toEqual([]);
  });

  it('npm ci && npm test runs this test', () => {
    expect(of('bash').flatMap(linesOf)).toContain('npm ci && npm test');
    expect(manifest.scripts['test']).toContain('jest');
  });

  it.each(
    of('bash')
      .filter(({ text }) => /^npx /m.test(text))
      .map(titled),
  )('runs: %s', async (_title, block) =>
    inDatabase(async (url) => {
      const makesTables = /migrat|adopt/.test(block.text);
      const lines = [...(makesTables ? [] : ['npx frameforge-db migrate']), ...linesOf(block)];
      for (const line of lines) await project.runOk(['sh', '-c', line], { DATABASE_URL: url });
      if (!linesOf(block).some((line) => line.includes('revert'))) return;
      // All migrations have run, and the newest one is reverted.
      const applied = await query(url, 'SELECT name FROM migrations ORDER BY id');
      const known = frameForgeMigrations.map(({ name }) => ({ name }));
      expect(applied).toEqual(known.slice(0, -1));
    }),
  );
});

/** The output without the times that it names. */
const comparable = (text: string): string => text.replaceAll(/\(\d+\.\d s\)/g, '(… s)').trim();

/** Runs `npm run demo` without its build. The packed checkout is already built, and other test files use it. */
const demonstration = (url: string): Promise<string> => {
  const [, command = ''] = manifest.scripts['demo']?.split(' && ') ?? [];
  return runOk(packed.checkout, command.split(' ') as [string], { DATABASE_URL: url });
};

it('shows what the demonstration prints', async () => {
  const [shown, ...more] = blocksOf('examples/README.md').filter(({ kind }) => kind === 'text');
  expect(more).toEqual([]);
  expect(comparable(shown?.text ?? '')).toBe(comparable(await demonstration('')));
});

it('has a demonstration that ends with a reason and exit code 1 when it fails', async () => {
  const running = demonstration('postgres://nobody:nothing@127.0.0.1:1/nowhere');
  await expect(running).rejects.toThrow(/ended with code 1:[^]*✘[^]*ECONNREFUSED/);
});
