import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/**
 * What is wrong if this package was linked (`npm link`, `file:`) from a folder that has a Nest of its own:
 * Nest finds its own classes, such as `ModuleRef`, by identity, and says no more than that it can't resolve
 * them.
 *
 * @param own - where this package is; undefined in a bundle
 * @param main - the program that was started
 * @returns a warning; undefined where the application and this package have one Nest, or if it can't be told
 */
export function linkedNest(
  own = import.meta.url as string | undefined,
  main = process.argv[1],
): string | undefined {
  if (own === undefined || main === undefined || own.includes('/node_modules/')) return undefined;
  const [ours, theirs] = [fileURLToPath(own), main].map(nestOf);
  if (ours === undefined || theirs === undefined || ours === theirs) return undefined;
  return (
    `@frameforge/shared-types is linked, and has another @nestjs/core (${ours}) than the application ` +
    `(${theirs}). Nest will not find the providers of either in the other: "Nest can't resolve ` +
    `dependencies of the TypeOrmCoreModule (…, ModuleRef)". Instead of a link, install what npm pack ` +
    `makes; or make it a workspace of the application's repository, so that both have one Nest.`
  );
}

/** The `@nestjs/core` that a file would import. */
function nestOf(file: string): string | undefined {
  try {
    return createRequire(file).resolve('@nestjs/core');
  } catch {
    // A program that has none, such as a process manager of another folder.
    return undefined;
  }
}
