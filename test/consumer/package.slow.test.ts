import { readFileSync, realpathSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, posix } from 'node:path';
import { manifest, OPTIONAL_PEERS, REPOSITORY, REQUIRED_PEERS, runOk } from './consumer.project.js';
import { packPackage } from './packed.package.js';
import type { PackedPackage } from './packed.package.js';

let packed: PackedPackage;
beforeAll(async () => {
  packed = await packPackage();
}, 300_000);

/** The folder of the files for the browser. They must not import a module of Node. */
const PAGES = 'dist/console/assets/';

const read = (path: string): string => readFileSync(join(packed.checkout, path), 'utf8');

/** Finds all imports of a module or a declaration file, in every form. */
function importsOf(path: string): string[] {
  const pattern = /(?:from\s|import\s|import\(|require\(|require\.resolve\()\s*(['"])([^'"\n]+)\1/g;
  return [...read(path).matchAll(pattern)].map(([, , specifier]) => specifier as string);
}

/** The package of a specifier; undefined for a module of Node. */
function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) return undefined;
  const [scope, name] = specifier.split('/');
  return scope?.startsWith('@') ? `${scope}/${name}` : scope;
}

/** Finds the packages that a module needs to load. For a declaration file, finds all packages that it names. */
function needsOf(path: string): string[] {
  if (path.endsWith('.d.ts')) return importsOf(path);
  const pattern = path.startsWith('dist/cjs/')
    ? /^[^/\n]*\brequire\((['"])([^'"\n]+)\1\)/gm
    : /^(?:import|export)\b[^'"]*(['"])([^'"\n]+)\1;$/gm;
  return [...read(path).matchAll(pattern)]
    .filter(([line]) => !line.includes('Promise.resolve().then('))
    .map(([, , specifier]) => specifier as string);
}

/** What a file needs: packages, and files of ours with all that they need. */
function neededBy(entry: string): { packages: Set<string>; files: Set<string> } {
  const packages = new Set<string>();
  const files = new Set<string>();
  const visit = (path: string): void => {
    if (files.has(path)) return;
    files.add(path);
    for (const specifier of needsOf(path)) {
      if (specifier.startsWith('.')) {
        const target = posix.join(dirname(path), specifier);
        visit(path.endsWith('.d.ts') ? target.replace(/\.js$/, '.d.ts') : target);
      } else {
        const name = packageOf(specifier);
        if (name !== undefined) packages.add(name);
      }
    }
  };
  visit(entry);
  return { packages, files };
}

/** The modules of an entry: of the ES modules, and of the CommonJS. */
function modulesOf(entry: string): string[] {
  const formats = manifest.exports[entry] as Record<'import' | 'require', { default: string }>;
  return [formats.import, formats.require].map((format) => format.default.replace('./', ''));
}

const ENTRIES = Object.keys(manifest.exports)
  .filter((entry) => !entry.endsWith('.json'))
  .flatMap(modulesOf);

it('is packed with the modules of this checkout, also if another checkout has packed it before', () => {
  const modules = realpathSync(join(REPOSITORY, 'node_modules'));
  expect(realpathSync(join(packed.checkout, 'node_modules'))).toBe(modules);
});

it('contains the build, its sources and the documents, and nothing else', () => {
  const documents = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
  const format = 'dist/cjs/package.json';
  const pages = ['console.css', 'console.js'].map((name) => `${PAGES}${name}`);
  expect(packed.files.filter((path) => path.startsWith(PAGES))).toEqual(pages);
  const others = new Set([...documents, format, ...pages]);
  const rest = packed.files.filter((path) => !others.has(path));
  expect(packed.files).toEqual(expect.arrayContaining([...documents, format]));
  const kinds =
    /^(?:dist\/.+\.(?:js|d\.ts)(?:\.map)?|src\/.+\.(?:ts|js)|docs\/(?:guides\/)?[a-z-]+\.md)$/;
  expect(rest.filter((path) => !kinds.test(path))).toEqual([]);
  expect(rest.filter((path) => /\.(?:test|spec|e2e)\.(?:js|d\.ts)$/.test(path))).toEqual([]);
});

it('contains each document that a message names', () => {
  const named = packed.files
    .filter((path) => /^dist\/.+\.js$/.test(path) && !path.startsWith(PAGES))
    .flatMap((path) => [...read(path).matchAll(/^(?!\s*(?:\/\/|\/?\*)).*?(docs\/[a-z/-]+\.md)/gm)])
    .map(([, document]) => document);
  expect(named).toContain('docs/roles.md');
  expect(packed.files).toEqual(expect.arrayContaining(named));
});

it('has source maps that lead to the sources', () => {
  const maps = packed.files.filter((path) => path.endsWith('.map'));
  expect(maps.length).toBeGreaterThan(100);
  const sources = maps.flatMap((path) =>
    (JSON.parse(read(path)) as { sources: string[] }).sources.map((source) =>
      posix.join(dirname(path), source),
    ),
  );
  expect(sources.filter((source) => !packed.files.includes(source))).toEqual([]);
});

it.each(modulesOf('./data-source'))(
  'names the line of the source in an error of %s',
  async (path) => {
    const program = `import('./${path}').catch(({ stack }) => process.stdout.write(stack))`;
    const stack = await runOk(packed.checkout, ['node', '--enable-source-maps', '-e', program], {
      DATABASE_URL: 'mysql://',
    });
    const [, source = '', line] = /\/(src\/[\w./-]+):(\d+):/.exec(stack) ?? [];
    expect(read(source).split('\n')[Number(line) - 1]).toContain('throw new ConfigurationError(');
  },
);

it('declares no private member, so that the types of both formats are compatible', () => {
  const declarations = packed.files.filter((path) => path.endsWith('.d.ts'));
  const privates = declarations.filter((path) =>
    /^\s+(?:private (?!constructor)|protected |#)/m.test(read(path)),
  );
  expect(privates).toEqual([]);
});

it('declares the types of every entry', () => {
  const declarations = ENTRIES.map((path) => path.replace(/\.js$/, '.d.ts'));
  expect(declarations).toHaveLength(16);
  expect(packed.files).toEqual(expect.arrayContaining(declarations));
});

it('has one file for each entry, and few files of what they share', () => {
  const modules = packed.files.filter(
    (path) => /^dist\/.+\.js$/.test(path) && !path.startsWith(PAGES),
  );
  const others = modules.filter((path) => !ENTRIES.includes(path) && path !== 'dist/cli/main.js');
  const shared = [
    'common',
    'embedded',
    'guardian.program',
    'module',
    'rolldown-runtime',
    'schema',
    'services',
  ];
  const names = [...shared, 'testing', 'worker'].map((name) => `shared/${name}.js`);
  expect(others).toEqual([
    ...names.map((name) => `dist/cjs/${name}`),
    ...names.map((name) => `dist/${name}`),
  ]);
});

it.each([
  ['.', ['common', 'module', 'schema', 'services']],
  ['./data-source', ['common', 'schema']],
  ['./worker', ['common', 'module', 'schema', 'services', 'worker']],
  ['./embedded', ['common', 'embedded']],
  ['./testing', ['common', 'embedded', 'module', 'schema', 'services', 'testing', 'worker']],
  ['./testing/jest-setup', ['common', 'embedded', 'testing']],
  ['./health', ['common', 'schema', 'services']],
  ['./console', ['common', 'module', 'schema', 'services']],
])('loads no shared file for %s that it does not need', (entry, shared) => {
  const loaded = modulesOf(entry).map((path) =>
    [...neededBy(path).files]
      .map((file) => /shared\/(?!rolldown-runtime)(.+)\.js$/.exec(file)?.[1])
      .filter((name) => name !== undefined)
      .toSorted(),
  );
  expect(loaded).toEqual([shared, shared]);
});

it.each([
  ['./data-source', ['typeorm']],
  ['./embedded', ['pg']],
  ['./testing/jest-setup', ['pg']],
])('needs no other package for %s', (entry, packages) => {
  const needed = modulesOf(entry).map((path) => [...neededBy(path).packages]);
  expect(needed).toEqual([packages, packages]);
});

it('loads no more of Nest for the command line than the decorators', () => {
  const needed = neededBy('dist/cli/main.js').packages;
  expect([...needed].filter((name) => name.startsWith('@nestjs/'))).toEqual(['@nestjs/common']);
});

it('exports only files that are there', () => {
  const leaves = (target: unknown): string[] =>
    typeof target === 'string' ? [target] : Object.values(target as object).flatMap(leaves);
  const { exports, bin, main, types, typesVersions } = manifest;
  const targets = leaves([exports, bin, main, types, typesVersions]);
  const missing = targets.filter((path) => !packed.files.includes(path.replace(/^\.\//, '')));
  expect(missing).toEqual([]);
});

it('tells old resolvers where the types of every entry are', () => {
  const entries = Object.keys(manifest.exports).filter((entry) => !/^\.$|\.json$/.test(entry));
  const known = Object.keys(manifest.typesVersions['*'] ?? {});
  expect(known.map((entry) => `./${entry}`)).toEqual(entries);
});

it('imports only what it declares', () => {
  const declared = new Set([
    ...REQUIRED_PEERS,
    ...OPTIONAL_PEERS,
    ...Object.keys(manifest.dependencies ?? {}),
  ]);
  const found = packed.files
    .filter((path) => /^dist\/.+\.(?:js|d\.ts)$/.test(path) && !path.startsWith(PAGES))
    .flatMap((path) => importsOf(path).map((specifier) => ({ path, specifier })))
    .filter(({ specifier }) => !specifier.startsWith('.'))
    .filter(({ specifier }) => !declared.has(packageOf(specifier) ?? 'pg'));
  expect(found).toEqual([]);
});

it('needs no optional peer for the entries that every application imports', () => {
  const entries = ['index.js', 'index.d.ts', 'connection/data-source.js'];
  for (const path of entries.flatMap((entry) => [`dist/${entry}`, `dist/cjs/${entry}`])) {
    const needed = neededBy(path).packages;
    expect(needed).toContain('typeorm');
    expect(OPTIONAL_PEERS.filter((peer) => needed.has(peer))).toEqual([]);
  }
});
