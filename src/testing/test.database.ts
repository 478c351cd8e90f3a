import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { openDataSource } from '../migrations/open-data-source.js';
import { resolveOptions } from '../database.options.js';
import type { FrameForgeDatabaseOptions } from '../database.options.js';
import { ConfigurationError } from '../errors.js';
import { closeAtEndOfFile, isClosed } from './end.of.file.js';
import { digestOf } from './template.digest.js';
import { currentSession } from './test.session.js';
import type { TestSession } from './test.session.js';
import { truncateTables } from './truncate.js';

const CONNECTION = [
  'url',
  'host',
  'port',
  'username',
  'password',
  'database',
  'ssl',
  'replication',
] as const;

/** The options of the application under test, without those that name a server or a database. */
export type TestDatabaseOptions = Omit<FrameForgeDatabaseOptions, (typeof CONNECTION)[number]>;

/** An isolated database with all migrations applied. */
export interface TestDatabase extends AsyncDisposable {
  /** The connection string of the database. */
  readonly url: string;
  /** Options for `FrameForgeDatabaseModule.forRoot`. */
  readonly options: FrameForgeDatabaseOptions;
  /** Returns an open data source of the database. Each call returns the same one. */
  dataSource(): Promise<DataSource>;
  /** Empties all tables but those in which TypeORM keeps its records. */
  truncate(): Promise<void>;
  /** Removes the database and ends its connections. May be called again. */
  drop(): Promise<void>;
}

const logger = new Logger('createTestDatabase');
const quiet = { log: (): void => {}, warn: (message: string): void => logger.warn(message) };

/**
 * Makes a database for a test. It is a copy of a template, which is migrated once for each set of migrations. Drop
 * it with `drop()` or `await using`. Otherwise it is dropped at the end of the test file, if the test runner has a
 * hook for that. The server is that of TEST_DATABASE_URL. If that is not set, it is an embedded server that all
 * processes of the run share.
 *
 * @param options - the options of the application; `entities` and `migrations` are added to this package's
 * @throws ConfigurationError if there is no server, or an option is wrong
 * @throws DatabaseUnavailableError if the server does not answer
 * @throws MigrationError if a migration fails
 */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const refused = CONNECTION.filter((key) => key in options);
  if (refused.length > 0) {
    throw new ConfigurationError(
      `createTestDatabase chooses the database by itself: remove \`${refused.join('`, `')}\`. ` +
        `To choose the server, set TEST_DATABASE_URL.`,
    );
  }
  const session = await currentSession();
  const { dataSource } = resolveOptions({ ...options, url: session.url('any') });
  const migrate = async (url: string): Promise<void> => {
    const migrated = resolveOptions({ ...options, url, migrationsRun: true });
    await (await openDataSource(migrated.dataSource, migrated.boot, quiet)).destroy();
  };
  return new Database(session, await session.copy(await digestOf(dataSource), migrate), options);
}

/** Makes a database without tables, for tests of migrations. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  const session = await currentSession();
  return new Database(session, await session.create(), {});
}

class Database implements TestDatabase {
  readonly url: string;
  readonly options: FrameForgeDatabaseOptions;
  readonly #session: TestSession;
  readonly #name: string;
  readonly #close = (): Promise<void> => this.drop();
  #dataSource?: Promise<DataSource>;
  #dropped?: Promise<void>;

  constructor(session: TestSession, name: string, options: TestDatabaseOptions) {
    this.#session = session;
    this.#name = name;
    this.url = session.url(name);
    // A test that forgets to close a data source still ends.
    const extra = { allowExitOnIdle: true, ...(options.extra as object | undefined) };
    this.options = { ...options, url: this.url, extra };
    closeAtEndOfFile(this.#close);
  }

  dataSource(): Promise<DataSource> {
    const { dataSource, boot } = resolveOptions(this.options);
    return (this.#dataSource ??= openDataSource(dataSource, boot, quiet));
  }

  async truncate(): Promise<void> {
    await truncateTables(await this.dataSource());
  }

  drop(): Promise<void> {
    return (this.#dropped ??= this.#drop());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drop();
  }

  async #drop(): Promise<void> {
    isClosed(this.#close);
    const dataSource = await this.#dataSource?.catch(() => undefined);
    try {
      if (dataSource?.isInitialized === true) await dataSource.destroy();
    } finally {
      await this.#session.drop(this.#name);
    }
  }
}
