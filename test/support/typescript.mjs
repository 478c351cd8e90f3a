// Lets plain Node run the TypeScript of this package: `node --import ./test/support/typescript.mjs`.
// Jest compiles what it tests by itself, but neither its global setup nor the processes that a test
// starts. This file registers itself as Node's module loader: in this thread from Node 22.15 on, and in a
// thread of its own before. What it compiled is kept: a process that finds all of it there starts in a
// third of the time.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

const isTypeScript = (url) => url.startsWith('file:') && /\.m?ts$/.test(url);

/** TypeScript imports `./thing.js` where `./thing.ts` is the source. */
export function resolve(specifier, context, nextResolve) {
  if (specifier.startsWith('.') && specifier.endsWith('.js') && context.parentURL !== undefined) {
    const source = new URL(specifier.replace(/js$/, 'ts'), context.parentURL);
    if (existsSync(source)) return { url: source.href, format: 'module', shortCircuit: true };
  }
  return nextResolve(specifier, context);
}

export function load(url, context, nextLoad) {
  if (!isTypeScript(url)) return nextLoad(url, context);
  return { format: 'module', source: compiled(fileURLToPath(url)), shortCircuit: true };
}

const fileOf = (path) => fileURLToPath(new URL(path, import.meta.url));
const CACHE = fileOf('../../node_modules/.cache/frameforge-typescript');
const CONFIGURATION = fileOf('../../tsconfig.json');
/** What the result depends on, besides the source: the compiler, its options, and this file. */
const inputs = () =>
  [
    CONFIGURATION,
    fileURLToPath(import.meta.url),
    fileOf('../../node_modules/typescript/package.json'),
  ]
    .map((file) => readFileSync(file, 'utf8'))
    .join('\0');

let key;
let compile;

function compiled(fileName) {
  const text = readFileSync(fileName, 'utf8');
  key ??= inputs();
  const hash = createHash('sha256').update([key, fileName, text].join('\0')).digest('hex');
  const kept = `${CACHE}/${hash}.js`;
  if (existsSync(kept)) return readFileSync(kept, 'utf8');
  compile ??= createCompiler();
  const output = compile(fileName, text);
  mkdirSync(CACHE, { recursive: true });
  // The file appears complete or not at all, because other processes read it at the same time.
  const own = `${kept}.${process.pid}`;
  writeFileSync(own, output);
  renameSync(own, kept);
  return output;
}

function createCompiler() {
  const ts = nodeModule.createRequire(import.meta.url)('typescript');
  const { compilerOptions } = ts.readConfigFile(CONFIGURATION, ts.sys.readFile).config;
  const { options } = ts.convertCompilerOptionsFromJson(
    { ...compilerOptions, module: 'esnext', noEmit: false, inlineSourceMap: true },
    '.',
  );
  return (fileName, text) =>
    ts.transpileModule(text, { fileName, compilerOptions: options }).outputText;
}

if (nodeModule.registerHooks !== undefined) nodeModule.registerHooks({ resolve, load });
else if (isMainThread) nodeModule.register(import.meta.url);
