// Builds the package: ES modules into dist/, and CommonJS into dist/cjs/ for tools that cannot load ES modules, such
// as Jest without vm-modules. See docs/compatibility.md.
//
//   node scripts/build.mjs --esm    builds the ES modules alone, which is all that the demonstration needs
import { rmSync, writeFileSync } from 'node:fs';
import ts from 'typescript';
import { buildConsole } from './console.mjs';

const { sys } = ts;
/**
 * CommonJS modules have no `import.meta.url`. The build replaces it there, so that both formats have the same
 * sources.
 */
const META = 'import.meta.url';
const COMMONJS_META = `require('node:url').pathToFileURL(__filename).href`;

rmSync('dist', { recursive: true, force: true });
build({}, sys.readFile);
if (!process.argv.includes('--esm')) await buildTheRest();

async function buildTheRest() {
  build(
    {
      outDir: 'dist/cjs',
      module: ts.ModuleKind.CommonJS,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      esModuleInterop: true,
    },
    (path, encoding) => sys.readFile(path, encoding)?.replaceAll(META, COMMONJS_META),
    // The command line is run and not imported, so it stays an ES module.
    (path) => !path.includes('/src/cli/'),
  );
  writeFileSync('dist/cjs/package.json', '{ "type": "commonjs" }\n');
  await buildConsole();
}

function build(given, readFile, isWanted = () => true) {
  const config = ts.getParsedCommandLineOfConfigFile('tsconfig.build.json', given, {
    ...sys,
    onUnRecoverableConfigFileDiagnostic: fail,
  });
  const host = ts.createCompilerHost(config.options);
  host.readFile = readFile;
  host.getSourceFile = (path, options) => {
    const text = readFile(path);
    return text === undefined ? undefined : ts.createSourceFile(path, text, options);
  };
  const program = ts.createProgram(config.fileNames.filter(isWanted), config.options, host);
  const { diagnostics } = program.emit(undefined, undefined, undefined, false, {
    afterDeclarations: [withoutPrivates],
  });
  const problems = [...config.errors, ...ts.getPreEmitDiagnostics(program), ...diagnostics];
  if (problems.length > 0) fail(...problems);
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
