import type { INestApplication, ModuleMetadata } from '@nestjs/common';
import type { AbstractHttpAdapter } from '@nestjs/core';
import type { TestingModuleBuilder } from '@nestjs/testing';
import { FrameForgeDatabaseModule } from '../database.module.js';
import { resolveOptions } from '../database.options.js';
import type { FrameForgeDatabaseOptions, ResolvedOptions } from '../database.options.js';
import { readUrl } from '../database.url.js';
import { ConfigurationError } from '../errors.js';
import { findOptionsProviders } from './options.providers.js';
import { closeAtEndOfFile, isClosed } from './end.of.file.js';
import { createTestDatabase } from './test.database.js';
import type { TestDatabase, TestDatabaseOptions } from './test.database.js';

/** The options of `createTestingApp`: the options of a module, and some for the test. */
export interface TestingAppOptions extends Pick<
  ModuleMetadata,
  'imports' | 'controllers' | 'providers'
> {
  /**
   * Replaces providers, guards, pipes, interceptors and filters, as `@nestjs/testing` does it:
   * `(builder) => builder.overrideProvider(Mailer).useValue(fake)`.
   */
  overrides?: (builder: TestingModuleBuilder) => unknown;
  /** A function for the steps that the application's `main.ts` does before it listens, such as adding global pipes. */
  configure?: (app: INestApplication) => unknown;
  /** Options of the database. They replace the options of the application. */
  database?: TestDatabaseOptions;
  /** The HTTP adapter, if it is not that of Express. */
  adapter?: AbstractHttpAdapter;
}

/** An application that is ready for requests. Closing it, also by `await using`, drops its database. */
export interface TestingApp extends INestApplication, AsyncDisposable {
  /** The application's own database. */
  readonly database: TestDatabase;
}

/**
 * Boots an application on its own new database. If its modules import `FrameForgeDatabaseModule.forRoot` or
 * `forRootAsync`, their options are used, except those that name a database. If no module does, the module is
 * added. Close the application with `close()` or `await using`. Otherwise it is closed at the end of the test
 * file, if the test runner has a hook for that.
 *
 * @throws ConfigurationError if `@nestjs/testing` is missing, or the application opens its data
 *   source by itself (`forFeature`); and what `createTestDatabase` and the application throw
 */
export async function createTestingApp(options: TestingAppOptions = {}): Promise<TestingApp> {
  const databases: TestDatabase[] = [];
  let app: INestApplication | undefined;
  try {
    const builder = await prepare(options, databases);
    const module = await builder.compile();
    const { adapter } = options;
    app =
      adapter === undefined
        ? module.createNestApplication()
        : module.createNestApplication(adapter);
    await options.configure?.(app);
    await app.init();
    return closingAll(app, databases);
  } catch (error) {
    await app?.close();
    await dropAll(databases);
    throw error;
  }
}

/** @param databases - collects the databases that are made at boot */
async function prepare(
  { imports = [], controllers, providers, overrides, database: own }: TestingAppOptions,
  databases: TestDatabase[],
): Promise<TestingModuleBuilder> {
  const { Test } = await loadTesting();
  const found = await findOptionsProviders(imports);
  const added = found.length === 0 ? [FrameForgeDatabaseModule.forRoot()] : [];
  const builder = Test.createTestingModule({
    imports: [...added, ...imports],
    controllers,
    providers,
  });
  for (const { provide, inject } of [...found, ...(await findOptionsProviders(added))]) {
    builder.overrideProvider(provide).useFactory({
      inject,
      factory: async (given: FrameForgeDatabaseOptions): Promise<ResolvedOptions> => {
        const { url, host, port, username, password, database, ssl, replication, ...rest } = given;
        // The test has another database, but keeps the schema that the URL of the application names.
        const { schema } = url === undefined ? {} : (readUrl('`url`', url, []) ?? {});
        const named = schema === undefined ? {} : { schema };
        const made = await createTestDatabase({ ...named, ...rest, ...own });
        databases.push(made);
        return resolveOptions(made.options);
      },
    });
  }
  overrides?.(builder);
  return builder;
}

function closingAll(app: INestApplication, databases: readonly TestDatabase[]): TestingApp {
  const closeApp = app.close.bind(app);
  let closing: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    isClosed(close);
    try {
      await closeApp();
    } finally {
      await dropAll(databases);
    }
  };
  const close = (): Promise<void> => (closing ??= closeAll());
  closeAtEndOfFile(close);
  const [database] = databases;
  return Object.assign(app, { database, close, [Symbol.asyncDispose]: close }) as TestingApp;
}

async function dropAll(databases: readonly TestDatabase[]): Promise<void> {
  await Promise.all(databases.map((database) => database.drop()));
}

async function loadTesting(): Promise<typeof import('@nestjs/testing')> {
  try {
    return await import('@nestjs/testing');
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (!String(code).endsWith('MODULE_NOT_FOUND')) throw error;
    throw new ConfigurationError(
      'createTestingApp needs the package "@nestjs/testing". Run: npm i -D @nestjs/testing.',
      { cause: error },
    );
  }
}
