import { randomBytes } from 'node:crypto';
import type { Pool as PgPool, PoolClient } from 'pg';
import { Pool } from '../embedded/pg.client.js';
import { ConfigurationError } from '../errors.js';
import { fromDriver } from '../errors.driver.js';
import { reasonOf } from '../errors.text.js';
import { closeAtEndOfFile, isClosed } from './end.of.file.js';
import { findTestServer } from './test.server.js';
import type { TestServer } from './test.server.js';

/** The values that the setup of a run gives to the processes of the run. */
interface Run extends Omit<TestServer, 'stop'> {
  /** The session whose templates they copy. If undefined, each process copies its own. */
  readonly templates?: string;
}

const RUN = 'FRAMEFORGE_TEST_RUN';

const PREFIX = 'frameforge_test_';
const ID_LENGTH = 12;
const NAME_LENGTH = PREFIX.length + ID_LENGTH;
const EXACT_NAME = `^${PREFIX}[0-9a-f]{${ID_LENGTH}}_(\\d+|template_[0-9a-f]{16})$`;

/**
 * The mark of a database that was made here: its connection limit, a number that nobody else chooses. A database has
 * its connection limit from the beginning, but a comment only later. So even a process that is killed leaves no
 * database without the mark.
 */
const MARK = 1_702_389_091;

/** The key of the advisory lock that a process holds while it makes a template. Any number is good. */
const LOCK = 7_036_874_417;
const TRIES = 5;

/** Finds the databases of the session $1, and of sessions that have ended. A name begins with the session's name. */
const TO_REMOVE = `
  SELECT d.datname AS name FROM pg_database d
  WHERE d.datname ~ '${EXACT_NAME}' AND d.datconnlimit = ${MARK}
    AND (starts_with(d.datname, $1 || '_') OR NOT EXISTS (
      SELECT FROM pg_stat_activity a WHERE a.application_name = left(d.datname, ${NAME_LENGTH})))`;

/**
 * The databases that one process makes on the server. The session keeps a connection open, which has the name of the
 * session. Databases without such a connection were left by a process that was killed. The next session removes them.
 */
export class TestSession {
  readonly #server: TestServer;
  readonly #name = PREFIX + randomBytes(ID_LENGTH / 2).toString('hex');
  /** The session whose templates this session copies: the session of the run, or itself. */
  readonly #templates: string;
  readonly #pool: PgPool;
  #count = 0;
  #shares = false;

  private constructor(server: TestServer, templates?: string) {
    this.#server = server;
    this.#templates = templates ?? this.#name;
    this.#pool = new Pool({
      connectionString: server.adminUrl,
      application_name: this.#name,
      max: 1,
      idleTimeoutMillis: 0,
      // A process that forgets to close the session ends all the same.
      allowExitOnIdle: true,
    });
    this.#pool.on('error', ignore); // the next query opens another connection
  }

  /** @throws DatabaseUnavailableError, ConfigurationError if there is no server to test on */
  static async open(): Promise<TestSession> {
    const run = currentRun();
    const session = new TestSession(run ?? (await findTestServer()), run?.templates);
    try {
      await session.removeDatabases();
      return session;
    } catch (error) {
      await session.#end();
      throw error;
    }
  }

  /**
   * Makes processes that are started later use this session's server.
   *
   * @param templates - whether they also copy this session's templates
   */
  share(templates: boolean): void {
    const { url, adminUrl, inMemory } = this.#server;
    const run: Run = { url, adminUrl, inMemory, templates: templates ? this.#name : undefined };
    process.env[RUN] = JSON.stringify(run);
    this.#shares = true;
  }

  /** The URL of a database. With `direct`, it names the server itself and no pooler. */
  url(name: string, direct = false): string {
    const url = new URL(direct ? this.#server.adminUrl : this.#server.url);
    url.pathname = name;
    return url.href;
  }

  /** Makes an empty database, and returns its name. */
  async create(): Promise<string> {
    const name = this.#nextName();
    await this.#run((client) => createDatabase(client, name));
    return name;
  }

  /**
   * Makes a copy of a template. If there is no template, it makes the template first.
   *
   * @param digest - the digest of the template's entities and migrations
   * @param migrate - migrates the empty database with this URL
   */
  async copy(digest: string, migrate: (url: string) => Promise<void>): Promise<string> {
    const template = `${this.#templates}_template_${digest}`;
    const strategy = this.#server.inMemory ? 'STRATEGY FILE_COPY' : '';
    for (let tries = 0; tries < TRIES; tries += 1) {
      const name = this.#nextName();
      const copied = await this.#run((client) =>
        createDatabase(client, name, `TEMPLATE ${template} ${strategy}`).then(
          () => true,
          isMissing,
        ),
      );
      if (copied) return name;
      await this.#run((client) => this.#makeTemplate(client, template, migrate));
    }
    throw new Error('Another process removed the template database again and again.');
  }

  /** Removes a database, and ends the connections that are open to it. */
  async drop(name: string): Promise<void> {
    await this.#run((client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
  }

  /** Removes the databases that this session and ended sessions have not dropped. */
  async removeDatabases(): Promise<void> {
    await this.#run(async (client) => {
      const { rows } = await client.query<{ name: string }>(TO_REMOVE, [this.#name]);
      for (const { name } of rows) {
        // Another session may remove it too. If it cannot be removed now, the next session tries again.
        await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`).catch(ignore);
      }
    });
  }

  /** Closes the session, and stops a server that was started for it. */
  async close(): Promise<void> {
    if (this.#shares) delete process.env[RUN];
    try {
      if (this.#server.stop === undefined) await this.removeDatabases();
    } finally {
      await this.#end();
    }
  }

  async #end(): Promise<void> {
    await this.#pool.end();
    await this.#server.stop?.();
  }

  /** Runs work on a client. The pool's own method would close the connection after an error, and end the session. */
  async #run<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw explain(error);
    });
    client.on('error', ignore); // the broken query reports the error
    try {
      return await work(client);
    } catch (error) {
      throw explain(error);
    } finally {
      client.off('error', ignore);
      client.release();
    }
  }

  async #makeTemplate(
    client: PoolClient,
    template: string,
    migrate: (url: string) => Promise<void>,
  ): Promise<void> {
    await client.query('SELECT pg_advisory_lock($1)', [LOCK]);
    // The template has another name until it is complete.
    const name = this.#nextName();
    try {
      const found = await client.query('SELECT FROM pg_database WHERE datname = $1', [template]);
      if (found.rowCount !== 0) return; // another process has made it meanwhile
      await createDatabase(client, name);
      await migrate(this.url(name, true));
      await client.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS false`);
      await client.query(`ALTER DATABASE ${name} RENAME TO ${template}`);
    } catch (error) {
      await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`).catch(ignore);
      throw error;
    } finally {
      await client.query('SELECT pg_advisory_unlock_all()').catch(ignore);
    }
  }

  #nextName(): string {
    this.#count += 1;
    return `${this.#name}_${this.#count}`;
  }
}

let current: Promise<TestSession> | undefined;

/** The session of this test file. It is opened at the first call. */
export function currentSession(): Promise<TestSession> {
  return (current ??= openUntilEndOfFile());
}

async function openUntilEndOfFile(): Promise<TestSession> {
  try {
    const session = await TestSession.open();
    const close = async (): Promise<void> => {
      isClosed(close);
      current = undefined;
      await session.close();
    };
    closeAtEndOfFile(close);
    return session;
  } catch (error) {
    current = undefined;
    throw error;
  }
}

/** The run that this process is part of, if it has a setup. */
export function currentRun(): Run | undefined {
  const run = process.env[RUN];
  return run === undefined ? undefined : (JSON.parse(run) as Run);
}

const createDatabase = (client: PoolClient, name: string, how = ''): Promise<unknown> =>
  client.query(`CREATE DATABASE ${name} ${how} CONNECTION LIMIT ${MARK}`);

/** Returns false if the error says that the template does not exist. Throws every other error. */
function isMissing(error: unknown): false {
  if (codeOf(error) === '3D000') return false;
  throw error;
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;

function explain(error: unknown): unknown {
  if (codeOf(error) !== '42501') return fromDriver(error, 'Working on the test databases');
  return new ConfigurationError(
    `The database role of TEST_DATABASE_URL may not create databases: ${reasonOf(error)}. ` +
      `Let it: ALTER ROLE name CREATEDB.`,
    { cause: error },
  );
}

const ignore = (): void => {};
