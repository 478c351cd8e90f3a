import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool as PgPool, PoolClient } from 'pg';
import { Pool } from '../embedded/pg.client.js';
import { ConfigurationError, fromDriver, reasonOf } from '../errors.js';
import { startSweeper } from './sweeper.process.js';
import { findTestServer } from './test.server.js';
import type { TestServer } from './test.server.js';

const PREFIX = 'frameforge_test_';
const ID_LENGTH = 12;
const TEMPLATE_PREFIX = 'frameforge_template_';
/** Whoever makes a template holds this advisory lock; any number will do. */
const LOCK = 7_036_874_417;

/** Databases of sessions that are over: the session's name is the first part of theirs. */
const STALE_DATABASES = `
  SELECT d.datname AS name FROM pg_database d
  WHERE starts_with(d.datname, '${PREFIX}') AND NOT EXISTS (
    SELECT FROM pg_stat_activity a
    WHERE a.application_name = substr(d.datname, 1, ${PREFIX.length + ID_LENGTH}))`;

/** $1 the template to keep, $2 our own session: the others, if nobody else has a session. */
const UNUSED_TEMPLATES = `
  SELECT d.datname AS name FROM pg_database d
  WHERE starts_with(d.datname, '${TEMPLATE_PREFIX}') AND d.datname <> $1 AND NOT EXISTS (
    SELECT FROM pg_stat_activity a
    WHERE starts_with(a.application_name, '${PREFIX}') AND a.application_name <> $2)`;

/** $1 our own session: the others. */
const OTHER_SESSIONS = `
  SELECT FROM pg_stat_activity
  WHERE starts_with(application_name, '${PREFIX}') AND application_name <> $1`;

/** How often to look, 50 ms apart, whether the workers of a run that is over have gone. */
const LOOKS = 40;

/** The name of a template, which ends with the digest of what it holds. */
export const templateName = (digest: string): string => TEMPLATE_PREFIX + digest;

/**
 * What one process makes on the server. It keeps a connection open, named like its databases: one
 * without such a connection was left by a process that was killed, and the next session removes it,
 * where no sweeper has.
 */
export class TestSession {
  readonly #server: TestServer;
  readonly #name = PREFIX + randomBytes(ID_LENGTH / 2).toString('hex');
  readonly #pool: PgPool;
  #count = 0;
  #endSweeper = ignore;

  private constructor(server: TestServer) {
    this.#server = server;
    this.#pool = new Pool({
      connectionString: server.adminUrl,
      application_name: this.#name,
      max: 1,
      idleTimeoutMillis: 0,
      // A process that forgets to close the session ends all the same.
      allowExitOnIdle: true,
    });
    this.#pool.on('error', ignore); // a broken connection is replaced by the next query
  }

  /**
   * @param run - whether it is the one that is open during a whole run
   * @throws DatabaseUnavailableError, ConfigurationError if there is no server to test on
   */
  static async open(run = false): Promise<TestSession> {
    const session = new TestSession(await findTestServer());
    try {
      for (const name of await namesOf(session.#pool, STALE_DATABASES)) {
        // Another session may be removing it too; one that resists is for the session after.
        await session.drop(name).catch(ignore);
      }
      session.#startSweeper(run);
      return session;
    } catch (error) {
      await session.close();
      throw fromDriver(error, 'Connecting to the server for test databases');
    }
  }

  /** The URL of a database: for tests, or `direct`, which no pooler comes before. */
  url(name: string, direct = false): string {
    const url = new URL(direct ? this.#server.adminUrl : this.#server.url);
    url.pathname = name;
    return url.href;
  }

  /**
   * Makes a database.
   *
   * @param template - what it is a copy of; empty if left out
   * @returns its name, or undefined if there is no such template
   */
  async create(template?: string): Promise<string | undefined> {
    const name = this.#nextName();
    const strategy = this.#server.strategy === undefined ? '' : `STRATEGY ${this.#server.strategy}`;
    const source = template === undefined ? '' : `TEMPLATE ${template} ${strategy}`;
    try {
      await this.#query(`CREATE DATABASE ${name} ${source}`);
      return name;
    } catch (error) {
      if (template !== undefined && codeOf(error) === '3D000') return undefined;
      throw explain(error);
    }
  }

  /** Removes a database, and ends the connections that are open to it. */
  async drop(name: string): Promise<void> {
    await this.#query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  }

  /**
   * Makes a template, unless another process makes it meanwhile. It replaces those of other
   * migrations where nobody else is testing.
   *
   * @param migrate - is given the URL of an empty database
   */
  async makeTemplate(template: string, migrate: (url: string) => Promise<void>): Promise<void> {
    const client = await this.#pool.connect();
    client.on('error', ignore); // the query that it breaks tells
    try {
      await client.query('SELECT pg_advisory_lock($1)', [LOCK]);
      const existing = await client.query('SELECT FROM pg_database WHERE datname = $1', [template]);
      if (existing.rowCount === 0) await this.#makeTemplate(client, template, migrate);
    } catch (error) {
      throw explain(error);
    } finally {
      await client.query('SELECT pg_advisory_unlock_all()').catch(ignore);
      client.off('error', ignore);
      client.release();
    }
  }

  /** Closes the session. What it made and did not drop, the next one removes. */
  async close(): Promise<void> {
    await this.#pool.end();
    this.#endSweeper();
    this.#server.release();
  }

  /** Closes the session that was open during a whole run, which leaves nothing behind. */
  async end(): Promise<void> {
    const client = await this.#pool.connect();
    try {
      if (this.#server.outlives) await this.#untilAlone(client);
      await this.#removeTemplates(client, '');
    } finally {
      client.release();
    }
    await this.#pool.end();
    this.#endSweeper();
    await this.#server.end();
  }

  /** The server notices in its own time that a worker has ended. */
  async #untilAlone(client: PoolClient): Promise<void> {
    for (let looks = 0; looks < LOOKS; looks += 1) {
      const others = await client.query(OTHER_SESSIONS, [this.#name]);
      if (others.rowCount === 0) return;
      await sleep(50);
    }
  }

  /** A server of our own goes with all that is on it. */
  #startSweeper(run: boolean): void {
    if (!this.#server.outlives) return;
    const templates = { query: UNUSED_TEMPLATES, values: ['', this.#name] };
    this.#endSweeper = startSweeper({
      url: this.#server.adminUrl,
      session: this.#name,
      also: run ? templates : undefined,
    });
  }

  /** The pool's own method closes the connection after an error, which lets go of the databases. */
  async #query(text: string): Promise<void> {
    const client = await this.#pool.connect();
    client.on('error', ignore); // the query that it breaks tells
    try {
      await client.query(text);
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
    // Until it is complete, it has the name of a database of this session, and goes the way of those.
    const name = this.#nextName();
    await client.query(`CREATE DATABASE ${name}`);
    try {
      await migrate(this.url(name, true));
      await client.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS false`);
      await client.query(`ALTER DATABASE ${name} RENAME TO ${template}`);
    } catch (error) {
      await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`).catch(ignore);
      throw error;
    }
    await this.#removeTemplates(client, template);
  }

  async #removeTemplates(client: PoolClient, kept: string): Promise<void> {
    for (const name of await namesOf(client, UNUSED_TEMPLATES, [kept, this.#name])) {
      // A process that has just come may be copying it.
      await client.query(`DROP DATABASE IF EXISTS ${name}`).catch(ignore);
    }
  }

  #nextName(): string {
    this.#count += 1;
    return `${this.#name}_${this.#count}`;
  }
}

async function namesOf(
  db: Pick<PoolClient, 'query'>,
  query: string,
  values: readonly string[] = [],
): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(query, [...values]);
  return rows.map(({ name }) => name);
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;

function explain(error: unknown): unknown {
  if (codeOf(error) !== '42501') return fromDriver(error, 'Making a test database');
  return new ConfigurationError(
    `The database role of TEST_DATABASE_URL may not make databases: ${reasonOf(error)}. ` +
      `Let it: ALTER ROLE name CREATEDB.`,
    { cause: error },
  );
}

const ignore = (): void => {};
