import type { PostgresOptions } from './peers/typeorm.internals.js';
import { connectionFrom, sslModeProblems } from './database.environment.js';
import { readUrl, sslProblems } from './database.url.js';
import { remedyOf, RULES } from './database.rules.js';
import { ConfigurationError } from './errors.js';
import { optionProblems } from './input/option.rules.js';
import { preparedByDefault } from './sql/prepared-by-default.js';
import { DEFAULT_REPLY_TIMEOUT_MS } from './sql/runner.defaults.js';
import type { CurrentManager } from './sql/sql.runner.js';
import { DEFAULT_URL_SCHEMES } from './jobs/url.schemes.js';
import { frameForgeEntities } from './schema/entities/index.js';
import { frameForgeMigrations } from './schema/migrations/index.js';

export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 10_000;

/**
 * Options of TypeORM with which it would change the schema outside the migrations. And `name`, which belongs to
 * TypeORM before 1.0: Nest needs it outside these options.
 */
type Restricted = 'synchronize' | 'dropSchema' | 'entityPrefix' | 'name';

/**
 * TypeORM's options for PostgreSQL, and this package's own. Your `entities` and `migrations` are added to those
 * of the package. Without connection options (`url`, `replication`, or `host`, `port` and so on) the
 * environment is read: `DATABASE_URL`, else `DB_HOST`, `DB_PORT`, `DB_USER`, `DB_PASSWORD`, `DB_NAME` and
 * `DB_SSL`. A URL may name the `schema`.
 */
export interface FrameForgeDatabaseOptions extends Partial<Omit<PostgresOptions, Restricted>> {
  /** Only false, TypeORM's default, is accepted, because the migrations own the schema. */
  readonly synchronize?: false;
  /** Only false, TypeORM's default, is accepted, because true would drop the data of every service. */
  readonly dropSchema?: false;
  /** Run pending migrations at boot, one replica at a time. Default true. */
  readonly migrationsRun?: boolean;
  /** How long to wait, in ms, for another replica that is migrating. Default 300,000. */
  readonly migrationsLockTimeoutMs?: number;
  /**
   * Refuse to boot on a database where a migration of this application or of this package is pending,
   * or a newer release of this package has migrated. Default false.
   */
  readonly requireCurrentSchema?: boolean;
  /** How long to go on trying, in ms, to reach the database at boot. Default 60,000; 0 tries once. */
  readonly connectRetryMs?: number;
  /** How long running statements may take to finish when the application closes, in ms. Default 10,000. */
  readonly shutdownTimeoutMs?: number;
  /**
   * Use named prepared statements, whose plans PostgreSQL keeps. Set false behind PgBouncer before 1.21 in
   * transaction mode. Default true, unless the environment has `DB_PREPARED_STATEMENTS=false`.
   */
  readonly preparedStatements?: boolean;
  /**
   * How long to wait, in ms, for a connection, and for the reply to a statement outside a caller's transaction.
   * Then the call fails with a `DatabaseUnavailableError`. Default 30,000.
   */
  readonly replyTimeoutMs?: number;
  /**
   * Send other processes a `NOTIFY` after the commit, at most one every 10 ms. Workers with `listen` of
   * `FrameForgeWorkerModule` then learn at once of new jobs and of cancellations. Watchers with `listen` of
   * this module learn at once of changes. Without it they find out later, by polling. Default false.
   */
  readonly notifyWorkers?: boolean;
  /**
   * Let `watchJob` and `watchJobs` learn at once, instead of a second later, of changes by processes with
   * `notifyWorkers`. While somebody watches, this takes one connection besides the pool. It needs a session,
   * which a pooler in transaction mode cannot give. Default false.
   */
  readonly listen?: boolean;
  /**
   * The schemes that the URLs of videos and results may have, without the colon. Any other scheme is refused.
   * For example, a page that shows a `javascript` URL as a link would run it. Default https, http, s3, gs,
   * file.
   */
  readonly urlSchemes?: readonly string[];
  /**
   * A class with `class-validator` rules. The `parameters` of new jobs are checked by them before any SQL
   * runs. Default none: any JSON object is accepted.
   */
  readonly jobParameters?: new () => object;
  /**
   * Returns the manager of the transaction that the caller is in, for libraries such as nestjs-cls and
   * typeorm-transactional. A call without a `manager` joins this transaction. Undefined, or a manager without
   * a transaction, means that there is none. Calls that never join a transaction do not ask for it, such as
   * `claimJobs`, `startJob` and `extendLeases`. Default none.
   */
  readonly currentManager?: CurrentManager;
  /** Also load the entities that `TypeOrmModule.forFeature` names. Default false. */
  readonly autoLoadEntities?: boolean;
}

/** This package's own options, with their defaults. */
export interface BootOptions {
  readonly migrationsRun: boolean;
  readonly migrationsLockTimeoutMs: number;
  readonly requireCurrentSchema: boolean;
  readonly connectRetryMs: number;
  readonly shutdownTimeoutMs: number;
}

/** The options of a boot, checked and complete. */
export interface ResolvedOptions {
  readonly dataSource: PostgresOptions;
  readonly boot: BootOptions;
  readonly preparedStatements: boolean;
  readonly replyTimeoutMs: number;
  readonly urlSchemes: readonly string[];
  readonly jobParameters: (new () => object) | undefined;
  readonly currentManager: CurrentManager | undefined;
  readonly notifyWorkers: boolean;
  readonly listen: boolean;
  readonly autoLoadEntities: boolean;
}

const CREDENTIALS = ['host', 'port', 'username', 'password', 'database'] as const;

/**
 * Checks options and fills in the defaults. Reads the environment if the options name no server. An
 * option that is undefined counts as left out.
 *
 * @throws ConfigurationError naming each option and variable that is wrong, with the remedy
 */
export function resolveOptions(
  options: FrameForgeDatabaseOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): ResolvedOptions {
  const problems = problemsOf(options);
  const connection = connectionOf(options, env, problems);
  refuse(problems);
  const given: FrameForgeDatabaseOptions = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
  const {
    migrationsRun = true,
    migrationsLockTimeoutMs = 300_000,
    requireCurrentSchema = false,
    connectRetryMs = 60_000,
    shutdownTimeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS,
    preparedStatements = preparedByDefault(env, problems),
    replyTimeoutMs = DEFAULT_REPLY_TIMEOUT_MS,
    urlSchemes = DEFAULT_URL_SCHEMES,
    jobParameters,
    currentManager,
    notifyWorkers = false,
    listen = false,
    autoLoadEntities = false,
    entities = [],
    migrations = [],
    ...typeorm
  } = given;
  refuse(problems);
  return {
    dataSource: {
      // The package's keys are gen_random_uuid(), which needs no extension.
      uuidExtension: 'pgcrypto',
      installExtensions: false,
      migrationsTransactionMode: 'each',
      connectTimeoutMS: 30_000,
      ...typeorm,
      // Keep-alive finds connections whose other end has vanished. It also keeps a firewall from dropping a
      // connection that is idle during a long migration. The system's own delay is 2 h.
      extra: {
        keepAlive: true,
        keepAliveInitialDelayMillis: 10_000,
        ...(typeorm.extra as object | undefined),
      },
      ...connection,
      type: 'postgres',
      entities: [...new Set([...frameForgeEntities, ...Object.values(entities)])],
      migrations: [...new Set([...frameForgeMigrations, ...Object.values(migrations)])],
      // openDataSource runs them, under a lock.
      migrationsRun: false,
    },
    boot: {
      migrationsRun,
      migrationsLockTimeoutMs,
      requireCurrentSchema,
      connectRetryMs,
      shutdownTimeoutMs,
    },
    preparedStatements,
    replyTimeoutMs,
    urlSchemes: urlSchemes.map((scheme) => scheme.toLowerCase()),
    jobParameters,
    currentManager,
    notifyWorkers,
    listen,
    autoLoadEntities,
  };
}

function problemsOf(options: FrameForgeDatabaseOptions): string[] {
  const problems = optionProblems(options, RULES, remedyOf);
  const { url, replication, migrationsRun, migrationsLockTimeoutMs } = options ?? {};
  const given = CREDENTIALS.filter((key) => options?.[key] !== undefined);
  if (url !== undefined && given.length > 0) {
    problems.push(`\`url\` and \`${given.join('`, `')}\` contradict each other: give one of them`);
  }
  if (replication !== undefined && (url !== undefined || given.length > 0)) {
    problems.push(
      '`replication` names its own servers: remove `url`, `host`, `port`, `username`, `password` and `database`',
    );
  }
  if (migrationsRun === false && migrationsLockTimeoutMs !== undefined) {
    problems.push('`migrationsLockTimeoutMs` does nothing with `migrationsRun: false`: remove one');
  }
  return problems;
}

/** Reads the connection from the options, or from the environment if no option names a server. */
function connectionOf(
  options: FrameForgeDatabaseOptions,
  env: NodeJS.ProcessEnv,
  problems: string[],
): Partial<PostgresOptions> {
  const { url, ssl, schema, replication } = options ?? {};
  const servers = replicationOf(replication, problems);
  if (replication !== undefined) return { replication: servers };
  let connection: Partial<PostgresOptions> = {};
  if (url !== undefined) {
    const read = readUrl('`url`', url, problems);
    if (read !== undefined) problems.push(...sslProblems('`url`', read.url, '`ssl`', ssl));
    connection = { ...read };
  } else if (CREDENTIALS.every((key) => options?.[key] === undefined)) {
    // If the options are wrong, report only these, and not what the environment lacks.
    refuse(problems);
    connection = connectionFrom(env, ssl, problems);
  }
  const { schema: named = schema, ...rest } = connection;
  if ((ssl ?? rest.ssl) === undefined && !/[?&]ssl/.test(rest.url ?? '')) {
    problems.push(...sslModeProblems(env));
  }
  if (schema !== undefined && named !== schema) {
    problems.push(`the URL names another \`schema\` than the option: remove one of them`);
  }
  return named === undefined ? rest : { ...rest, schema: named };
}

type Replication = NonNullable<PostgresOptions['replication']>;

/** The servers of a replication. Each URL is read like the URL of a single server. */
function replicationOf(
  given: Replication | undefined,
  problems: string[],
): Replication | undefined {
  if (typeof given !== 'object' || given === null) return undefined;
  const { master, slaves = [] } = given;
  const read = (name: string, server: Replication['master']): Replication['master'] => {
    const { url, ssl } = server ?? {};
    const wrong = ssl === undefined ? undefined : RULES.ssl(ssl);
    if (wrong !== undefined) problems.push(`${name.replace('url', 'ssl')} ${wrong}`);
    if (url === undefined) return server;
    const { schema, ...rest } = readUrl(name, url, problems) ?? {};
    if (schema !== undefined) {
      problems.push(`${name} names a schema: all servers have one, so give it as \`schema\``);
    }
    return { ...server, ...rest };
  };
  return {
    ...given,
    master: read('the `url` of the master in `replication`', master),
    slaves: slaves.map((slave) => read('the `url` of a slave in `replication`', slave)),
  };
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) {
    throw new ConfigurationError(
      `FrameForgeDatabaseModule cannot start: ${[...new Set(problems)].join('; ')}.`,
    );
  }
}
