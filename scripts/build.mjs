// Builds the package. TypeScript compiles each source into build/, which is not published. bundle.mjs then makes a few
// files of them: ES modules in dist/, and CommonJS in dist/cjs/ for tools that cannot load ES modules, such as Jest
// without vm-modules. See docs/compatibility.md. The declarations stay one for each source.
//
//   node scripts/build.mjs --esm    builds the ES modules alone, which is all that the demonstration needs
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { bundle, isLeftOut } from './bundle.mjs';
import { buildConsole } from './console.mjs';

const { sys } = ts;

for (const folder of ['build', 'dist']) rmSync(folder, { recursive: true, force: true });
compile();
declare('dist');
await bundle('esm', 'dist');
if (!process.argv.includes('--esm')) {
  declare('dist/cjs');
  await bundle('cjs', 'dist/cjs');
  writeFileSync('dist/cjs/package.json', '{ "type": "commonjs" }\n');
  await buildConsole();
}

/** Compiles src/ into build/, file by file. */
function compile() {
  const config = ts.getParsedCommandLineOfConfigFile(
    'tsconfig.build.json',
    {},
    {
      ...sys,
      onUnRecoverableConfigFileDiagnostic: fail,
    },
  );
  const program = ts.createProgram(config.fileNames, config.options);
  const { diagnostics } = program.emit(undefined, undefined, undefined, false, {
    afterDeclarations: [withoutPrivates],
  });
  const problems = [...config.errors, ...ts.getPreEmitDiagnostics(program), ...diagnostics];
  if (problems.length > 0) fail(...problems);
}

/** Copies the declarations to a format. Their maps lead to the sources. */
function declare(folder) {
  const up = '../'.repeat(folder.split('/').length - 1);
  for (const path of readdirSync('build', { recursive: true })) {
    if (!/\.d\.ts(\.map)?$/.test(path) || isLeftOut(folder, path)) continue;
    const text = readFileSync(join('build', path), 'utf8');
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text.replace(/(?<="sources":\[")/, up));
  }
}

/** Whether a member of a class is private. */
function isPrivate(node) {
  return (
    (ts.isPropertyDeclaration(node) || ts.isMethodDeclaration(node) || ts.isAccessor(node)) &&
    (ts.isPrivateIdentifier(node.name) ||
      node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword))
  );
}

/**
 * Leaves private members out of declarations. A class with a private member cannot be assigned to any other class, not
 * even to the same class of the other format. An application may get types from both formats.
 */
function withoutPrivates(context) {
  const visit = (node) => (isPrivate(node) ? undefined : ts.visitEachChild(node, visit, context));
  return (file) => ts.visitEachChild(file, visit, context);
}

function fail(...diagnostics) {
  sys.write(
    ts.formatDiagnosticsWithColorAndContext(diagnostics, {
      getCanonicalFileName: (name) => name,
      getCurrentDirectory: sys.getCurrentDirectory,
      getNewLine: () => sys.newLine,
    }),
  );
  process.exit(1);
}
