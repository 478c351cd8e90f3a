import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ConfigurationError } from '../errors.js';

/**
 * Refuses a release of a library that lacks a non-public part that this package uses.
 *
 * @param parts - each part by its name, and whether it is there
 * @throws ConfigurationError naming the library's version, and the parts that are missing
 */
export function requireParts(library: string, parts: Readonly<Record<string, boolean>>): void {
  const missing = Object.keys(parts).filter((part) => parts[part] !== true);
  if (missing.length === 0) return;
  throw new ConfigurationError(
    `This release of @frameforge/shared-types does not work with ${library} ${versionOf(library)}, ` +
      `which lacks ${missing.join(', ')}. Install a version of ${library} that is among this release's ` +
      `peer dependencies, or update @frameforge/shared-types.`,
  );
}

function versionOf(library: string): string {
  try {
    // Not every library lets its package.json be imported.
    const entry = createRequire(import.meta.url).resolve(library);
    const [, folder = ''] = new RegExp(`^(.*[/\\\\]${library})[/\\\\]`).exec(entry) ?? [];
    const file = readFileSync(join(folder, 'package.json'), 'utf8');
    return (JSON.parse(file) as { version: string }).version;
  } catch {
    // A bundle has no package.json of the library.
    return '(of an unknown version)';
  }
}
