import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/**
 * Warns if this package was linked (`npm link`, `file:`) from a folder that has its own copy of Nest. Nest
 * compares its classes, such as `ModuleRef`, by identity. With two copies it says only that it cannot resolve
 * them.
 *
 * @param own - where this package is; undefined in a bundle
 * @param main - the program that was started
 * @returns a warning; undefined if the application and this package use one Nest, or if that is not known
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
    // The program has no Nest, for example a process manager in another folder.
    return undefined;
  }
}
