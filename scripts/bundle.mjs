// Makes one file of each entry of the package, and a few files of what the entries share. To load a hundred small
// modules takes Node longer than to run them: see docs/architecture.md.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { rolldown } from 'rolldown';

const { bin, exports } = JSON.parse(readFileSync('package.json', 'utf8'));

/**
 * The files of dist/shared/, and the modules in them. A file also has what its modules import, unless that is in a file
 * named before it. So an entry loads only what it needs: the embedded server no TypeORM, and the command
 * line no `@nestjs/core`.
 */
const SHARED = {
  common: /^(errors|database\.url|input\/option\.rules)/,
  embedded: /^embedded\/(?!index|guardian\.program)/,
  testing: /^testing\/test\.session/,
  schema: /^(schema\/(entities|migrations)\/|database\.options)/,
  services:
    /^(connection\/(?!data-source)|sql|input|migrations|messages|notifications|users|jobs|statistics|http)/,
  module: /^database\./,
  worker: /^worker\/(?!index)/,
};

/**
 * Makes the files of a format from the modules in build/.
 *
 * @param {'esm' | 'cjs'} format
 */
export async function bundle(format, folder) {
  const build = await rolldown({
    input: entriesOf(folder),
    // All packages and modules of Node stay outside.
    external: /^[^./]/,
    platform: 'node',
    plugins: [
      {
        name: 'source maps of TypeScript',
        load: (id) => ({ code: readFileSync(id, 'utf8'), map: readFileSync(`${id}.map`, 'utf8') }),
      },
    ],
    onLog: (_level, { message }) => {
      throw new Error(message);
    },
  });
  await build.write({
    dir: folder,
    format,
    exports: 'named',
    esModule: true,
    // Jest's CommonJS mode has no import().
    dynamicImportInCjs: false,
    keepNames: true,
    minifyInternalExports: false,
    generatedCode: { symbols: false },
    strict: true,
    comments: false,
    sourcemap: true,
    sourcemapExcludeSources: true,
    chunkFileNames: 'shared/[name].js',
    codeSplitting: {
      groups: Object.entries(SHARED).map(([name, paths]) => ({
        name,
        test: (id) => paths.test(relative('build', id)),
      })),
    },
  });
}

/** The modules that are imported or started by their path: each one's file, and the file that it is made of. */
function entriesOf(folder) {
  const paths = [...Object.values(exports), ...Object.values(bin)]
    .map((entry) => entry.import?.default ?? entry)
    .filter((path) => path.endsWith('.js'))
    .map((path) => relative('dist', path).replace(/\.js$/, ''));
  const entries = Object.fromEntries(
    paths.filter((path) => !isLeftOut(folder, path)).map((path) => [path, `./build/${path}.js`]),
  );
  // It is started from the file beside it.
  return { ...entries, 'shared/guardian.program': './build/embedded/guardian.program.js' };
}

/** The command line is run and not imported, so it is an ES module only. */
export function isLeftOut(folder, path) {
  return folder === 'dist/cjs' && path.startsWith('cli/');
}
