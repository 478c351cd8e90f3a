// Lets plain Node run the TypeScript of this package: `node --import ./test/support/typescript.mjs`.
// Jest compiles what it tests by itself, but neither its global setup nor the processes that a test
// starts. This file registers itself as Node's module loader, in a thread of its own.
import { existsSync, readFileSync } from 'node:fs';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

const isTypeScript = (url) => url.startsWith('file:') && /\.m?ts$/.test(url);

/** TypeScript imports `./thing.js` where `./thing.ts` is the source. */
export function resolve(specifier, context, nextResolve) {
  if (specifier.startsWith('.') && specifier.endsWith('.js')) {
    const source = new URL(specifier.replace(/js$/, 'ts'), context.parentURL);
    if (existsSync(source)) return { url: source.href, format: 'module', shortCircuit: true };
  }
  return nextResolve(specifier, context);
}

export async function load(url, context, nextLoad) {
  if (!isTypeScript(url)) return nextLoad(url, context);
  compile ??= await createCompiler();
  return { format: 'module', source: compile(fileURLToPath(url)), shortCircuit: true };
}

let compile;

async function createCompiler() {
  const { default: ts } = await import('typescript');
  const tsconfig = fileURLToPath(new URL('../../tsconfig.json', import.meta.url));
  const { compilerOptions } = ts.readConfigFile(tsconfig, ts.sys.readFile).config;
  const { options } = ts.convertCompilerOptionsFromJson(
    { ...compilerOptions, module: 'esnext', noEmit: false, inlineSourceMap: true },
    '.',
  );
  return (fileName) =>
    ts.transpileModule(readFileSync(fileName, 'utf8'), { fileName, compilerOptions: options })
      .outputText;
}

if (isMainThread) register(import.meta.url);
