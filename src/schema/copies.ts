import { ConfigurationError } from '../errors.js';

// For TypeORM and Nest, a second copy of an entity class is another entity. If Node can `require` ES modules,
// a process has only one copy of this package. If it cannot, a process that both imports and requires the
// package has two copies, and Nest would say only that it finds no repository. So each copy leaves a mark when
// it is loaded. This is the only side effect of loading it.

const MARK = Symbol.for('@frameforge/shared-types: loaded');
/** The folder of the CommonJS build, inside the folder of the ES modules. */
const COMMONJS = '/dist/cjs/';

type Marked = typeof globalThis & { [MARK]?: Set<string> };

/** Undefined in a bundle of CommonJS. */
const LOCATION = import.meta.url as string | undefined;

if (LOCATION !== undefined) ((globalThis as Marked)[MARK] ??= new Set()).add(LOCATION);

/**
 * Checks that this process has only one copy of the package.
 *
 * @throws ConfigurationError if it was both imported as ES modules and required as CommonJS
 */
export function requireOneCopy(loaded = (globalThis as Marked)[MARK]): void {
  const commonjs = [...(loaded ?? [])].find(
    (url) => url.includes(COMMONJS) && loaded?.has(url.replace(COMMONJS, '/dist/')),
  );
  if (commonjs === undefined) return;
  throw new ConfigurationError(
    `This process has loaded @frameforge/shared-types twice: once with import, once with require ` +
      `(${commonjs.slice(0, commonjs.indexOf(COMMONJS) + COMMONJS.length)}), so there are two ` +
      `copies of each entity class. Use import everywhere, or require everywhere. Or let Node require ES ` +
      `modules: start it without --no-experimental-require-module.`,
  );
}
