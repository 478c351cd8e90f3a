import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { openDataSource } from '../migrations/open-data-source.js';
import { resolveOptions } from '../database.options.js';
import type { FrameForgeDatabaseOptions } from '../database.options.js';
import { ConfigurationError } from '../errors.js';
import { closeAtEndOfFile, isClosed } from './end.of.file.js';
import { holdSession } from './held.session.js';
import type { HeldSession } from './held.session.js';
import { digestOf } from './template.digest.js';
import { templateName } from './test.session.js';
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
  readonly url: string;
  /** What to give to `FrameForgeDatabaseModule.forRoot`. */
  readonly options: FrameForgeDatabaseOptions;
  /** An open data source on it; the same one at each call. */
  dataSource(): Promise<DataSource>;
  /** Empties all tables but those in which TypeORM keeps its records. */
  truncate(): Promise<void>;
  /** Removes the database, and ends what is connected to it. May be called again. */
  drop(): Promise<void>;
}

const TRIES = 5;

const logger = new Logger('createTestDatabase');
const quiet = { log: (): void => {}, warn: (message: string): void => logger.warn(message) };

/**
 * Makes a database for a test: a copy of one that is migrated once for each set of migrations. It is
 * dropped by `drop()` or `await using`, else at the end of the test file where the runner has a hook for that. The server is that of TEST_DATABASE_URL, else an embedded one, which all processes of
 * the run share.
 *
 * @param options - the application's; `entities` and `migrations` are added to this package's
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
  return open(options, (session) => copyTemplate(session, options));
}

/** Makes a database without tables, for tests of migrations. */
export function createEmptyDatabase(): Promise<TestDatabase> {
  return open({}, (session) => session.create());
}

async function copyTemplate(
  session: TestSession,
  options: TestDatabaseOptions,
): Promise<string | undefined> {
  const { dataSource } = resolveOptions({ ...options, url: session.url('any') });
  const template = templateName(await digestOf(dataSource));
  for (let tries = 0; tries < TRIES; tries += 1) {
    const name = await session.create(template);
    if (name !== undefined) return name;
    await session.makeTemplate(template, (url) => migrate({ ...options, url }));
  }
  return undefined;
}

async function migrate(options: FrameForgeDatabaseOptions): Promise<void> {
  const { dataSource, boot } = resolveOptions({ ...options, migrationsRun: true });
  await (await openDataSource(dataSource, boot, quiet)).destroy();
}

async function open(
  options: TestDatabaseOptions,
  create: (session: TestSession) => Promise<string | undefined>,
): Promise<TestDatabase> {
  const held = await holdSession();
  try {
    const name = await create(held.session);
    if (name === undefined) throw new Error('The template was removed again and again.');
    return new Database(held, name, options);
  } catch (error) {
    await held.letGo();
    throw error;
  }
}

class Database implements TestDatabase {
  readonly url: string;
  readonly options: FrameForgeDatabaseOptions;
  readonly #held: HeldSession;
  readonly #name: string;
  readonly #close = (): Promise<void> => this.drop();
  #dataSource?: Promise<DataSource>;
  #dropped?: Promise<void>;

  constructor(held: HeldSession, name: string, options: TestDatabaseOptions) {
    this.#held = held;
    this.#name = name;
    this.url = held.session.url(name);
    // A test that forgets a data source ends all the same.
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
    try {
      const dataSource = await this.#dataSource?.catch(() => undefined);
      if (dataSource?.isInitialized === true) await dataSource.destroy();
      await this.#held.session.drop(this.#name);
    } finally {
      await this.#held.letGo();
    }
  }
}
