import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { PostgresOptions } from '../peers/typeorm.internals.js';
import { resolveOptions } from '../database.options.js';
import { misread, withHost } from '../database.url.js';
import { ConfigurationError } from '../errors.js';
import { reasonOf } from '../errors.text.js';

/**
 * Reads the options of the data source for a command.
 *
 * @param file - a module that exports the data source, as for TypeORM's command line. If left out, the
 *   environment names the database, and the data source has this package's entities and migrations
 * @throws ConfigurationError if there is no data source
 */
export async function readDataSource(file?: string): Promise<PostgresOptions> {
  if (file === undefined) return resolveOptions().dataSource;
  const options = await exportedOptions(file);
  if (options.type !== 'postgres') {
    throw new ConfigurationError(
      `The data source that ${file} exports is of type '${String(options.type)}': ` +
        `this command is for 'postgres'.`,
    );
  }
  const problems = misread(options);
  if (problems.length > 0) {
    throw new ConfigurationError(`The data source that ${file} exports: ${problems.join('; ')}.`);
  }
  return {
    migrationsTransactionMode: 'each',
    ...options,
    ...(typeof options.url === 'string' ? { url: withHost(options.url) } : {}),
    // The data source itself must not migrate, because it would do so without the lock.
    migrationsRun: false,
    synchronize: false,
    dropSchema: false,
  };
}

async function exportedOptions(file: string): Promise<PostgresOptions> {
  const exported = await importFile(file);
  // The whole of a CommonJS module is its default export.
  const { default: whole } = exported as { default?: unknown };
  const values = [exported, whole].flatMap((value) => Object.values(value ?? {}));
  const found = (await Promise.all([whole, ...values])).filter(isDataSource);
  const [only, ...others] = new Set(found.map(({ options }) => options));
  if (only === undefined || others.length > 0) {
    throw new ConfigurationError(
      `${file} exports ${only === undefined ? 'no' : 'more than one'} DataSource: export one, ` +
        `such as export default new DataSource({ ... }).`,
    );
  }
  return only;
}

async function importFile(file: string): Promise<object> {
  try {
    return (await import(pathToFileURL(resolve(file)).href)) as object;
  } catch (cause) {
    const { code } = cause as { code?: string };
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION' || code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') {
      throw new ConfigurationError(
        `Cannot load the data source of ${file}: this Node cannot read its TypeScript. Name the ` +
          `compiled file (-d dist/...), or start Node with a loader, such as NODE_OPTIONS='--import tsx'.`,
        { cause },
      );
    }
    throw new ConfigurationError(`Cannot load the data source of ${file}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

/** Checks the shape and not the class, because the application may have its own copy of TypeORM. */
function isDataSource(value: unknown): value is { options: PostgresOptions } {
  const { options, initialize } = (value ?? {}) as { options?: unknown; initialize?: unknown };
  return typeof options === 'object' && typeof initialize === 'function';
}
