import { readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, posix } from 'node:path';
import type { PackedPackage } from './consumer.project.js';
import { manifest, OPTIONAL_PEERS, packPackage, REQUIRED_PEERS } from './consumer.project.js';

let packed: PackedPackage;
beforeAll(async () => {
  packed = await packPackage();
}, 300_000);
afterAll(() => packed?.remove());

const read = (path: string): string => readFileSync(join(packed.checkout, path), 'utf8');

/** What a module or a declaration imports, in whatever way. */
function importsOf(path: string): string[] {
  const pattern = /(?:from|import|import\(|require\(|require\.resolve\()\s*(['"])([^'"\n]+)\1/g;
  return [...read(path).matchAll(pattern)].map(([, , specifier]) => specifier as string);
}

/** The package of a specifier; undefined for a module of Node. */
function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) return undefined;
  const [scope, name] = specifier.split('/');
  return scope?.startsWith('@') ? `${scope}/${name}` : scope;
}

/** What a module cannot be loaded without; for a declaration, all that it names. */
function needsOf(path: string): string[] {
  if (path.endsWith('.d.ts')) return importsOf(path);
  const pattern = /^(?:import|export)\b[^'"]*(['"])([^'"\n]+)\1;$/gm;
  return [...read(path).matchAll(pattern)].map(([, , specifier]) => specifier as string);
}

/** The packages that a file needs, with all files of ours that it needs. */
function packagesOf(entry: string): Set<string> {
  const packages = new Set<string>();
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
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
  return packages;
}

it('holds the build and the documents, and nothing else', () => {
  // Those in docs/ are named in messages.
  const documents = [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'package.json',
    'docs/operations.md',
    'docs/roles.md',
  ];
  const rest = packed.files.filter((path) => !documents.includes(path));
  expect(packed.files).toEqual(expect.arrayContaining(documents));
  expect(rest.filter((path) => !/^dist\/.+\.(?:js|d\.ts)$/.test(path))).toEqual([]);
  expect(rest.filter((path) => /\.(?:test|spec|e2e)\.(?:js|d\.ts)$/.test(path))).toEqual([]);
});

it('declares the types of every module', () => {
  const modules = packed.files.filter((path) => path.endsWith('.js'));
  const undeclared = modules.filter((path) => {
    // A command is run, not imported.
    const command = read(path).startsWith('#!');
    return !command && !packed.files.includes(path.replace(/\.js$/, '.d.ts'));
  });
  expect(modules.length).toBeGreaterThan(30);
  expect(undeclared).toEqual([]);
});

it('exports only files that are there', () => {
  const targets = Object.values(manifest.exports).flatMap((target) =>
    typeof target === 'string' ? [target] : Object.values(target),
  );
  targets.push(...Object.values(manifest.bin));
  const missing = targets.filter((path) => !packed.files.includes(path.replace(/^\.\//, '')));
  expect(missing).toEqual([]);
});

it('imports only what it declares', () => {
  const declared = new Set([
    ...REQUIRED_PEERS,
    ...OPTIONAL_PEERS,
    ...Object.keys(manifest.dependencies ?? {}),
  ]);
  const found = packed.files
    .filter((path) => path.startsWith('dist/'))
    .flatMap((path) => importsOf(path).map((specifier) => ({ path, specifier })))
    .filter(({ specifier }) => !specifier.startsWith('.'))
    .filter(({ specifier }) => !declared.has(packageOf(specifier) ?? 'pg'));
  expect(found).toEqual([]);
});

it('needs no optional peer for what an application must import', () => {
  for (const path of ['dist/index.js', 'dist/index.d.ts', 'dist/connection/data-source.js']) {
    const needed = packagesOf(path);
    expect(needed).toContain('typeorm');
    expect(OPTIONAL_PEERS.filter((peer) => needed.has(peer))).toEqual([]);
  }
});
