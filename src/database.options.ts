import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';
import { connectionFrom, preparedStatementsFrom } from './database.environment.js';
import { isPort, sslProblems, urlProblems } from './database.url.js';
import { ConfigurationError } from './errors.js';
import { frameForgeEntities } from './schema/entities/index.js';
import { frameForgeMigrations } from './schema/migrations/index.js';

export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 10_000;

/** Options of TypeORM that would let it change the schema behind the migrations' back. */
type Restricted = 'synchronize' | 'dropSchema' | 'entityPrefix';

/**
 * TypeORM's options for PostgreSQL, and this package's own. `entities` and `migrations` are added to
 * the package's. Without connection options (`url`, or `host` and its kin, or `replication`) the
 * environment is read: `DATABASE_URL`, else `DB_HOST`, `DB_PORT`, `DB_USER`, `DB_PASSWORD`,
 * `DB_NAME`, `DB_SSL`.
 */
export interface FrameForgeDatabaseOptions extends Partial<
  Omit<PostgresDataSourceOptions, Restricted>
> {
  /** The migrations own the schema: only what TypeORM's default is, too, is accepted. */
  readonly synchronize?: false;
  /** Likewise. */
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
   * Keep plans by name. Set false behind PgBouncer before 1.21 in transaction mode. Default true,
   * unless the environment says `DB_PREPARED_STATEMENTS=false`.
   */
  readonly preparedStatements?: boolean;
  /**
   * Wake up workers in other processes (`listen` of `FrameForgeWorkerModule`) by a `NOTIFY` after the
   * commit, at most one each 10 ms. Without it they find new work by polling. Default false.
   */
  readonly notifyWorkers?: boolean;
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
  readonly dataSource: PostgresDataSourceOptions;
  readonly boot: BootOptions;
  readonly preparedStatements: boolean;
  readonly notifyWorkers: boolean;
  readonly autoLoadEntities: boolean;
}

/** Every option there is; the type makes the compiler complain when one is missing here. */
const KNOWN: Record<keyof FrameForgeDatabaseOptions, true> = {
  type: true,
  url: true,
  host: true,
  port: true,
  username: true,
  password: true,
  database: true,
  schema: true,
  ssl: true,
  applicationName: true,
  connectTimeoutMS: true,
  driver: true,
  nativeDriver: true,
  useUTC: true,
  replication: true,
  uuidExtension: true,
  poolErrorHandler: true,
  logNotifications: true,
  installExtensions: true,
  parseInt8: true,
  extensions: true,
  entities: true,
  migrations: true,
  subscribers: true,
  logging: true,
  logger: true,
  maxQueryExecutionTime: true,
  poolSize: true,
  namingStrategy: true,
  isolationLevel: true,
  migrationsTableName: true,
  migrationsTransactionMode: true,
  metadataTableName: true,
  entitySkipConstructor: true,
  extra: true,
  relationLoadStrategy: true,
  typename: true,
  cache: true,
  isolateWhereStatements: true,
  invalidWhereValuesBehavior: true,
  synchronize: true,
  dropSchema: true,
  migrationsRun: true,
  migrationsLockTimeoutMs: true,
  requireCurrentSchema: true,
  connectRetryMs: true,
  shutdownTimeoutMs: true,
  preparedStatements: true,
  notifyWorkers: true,
  autoLoadEntities: true,
};

const CREDENTIALS = ['host', 'port', 'username', 'password', 'database'] as const;

const BOOLEANS = [
  'migrationsRun',
  'requireCurrentSchema',
  'preparedStatements',
  'notifyWorkers',
  'autoLoadEntities',
] as const;

const MILLISECONDS = [
  'migrationsLockTimeoutMs',
  'connectRetryMs',
  'shutdownTimeoutMs',
  'connectTimeoutMS',
  'maxQueryExecutionTime',
] as const;

const REMEDIES: Readonly<Record<string, string>> = {
  synchronize: 'the migrations own the schema: write a migration for your own entities',
  dropSchema: 'it would drop the data of every service: drop the schema by hand where you mean it',
  entityPrefix: 'the table names are fixed: use `schema` to keep them apart',
  name: 'give it beside useFactory, as forRootAsync({ name, useFactory }): Nest needs it earlier',
  retryAttempts: 'use `connectRetryMs`',
  retryDelay: 'use `connectRetryMs`',
  toRetry: 'use `connectRetryMs`: only what can heal is retried',
};

/**
 * Checks options, fills in the defaults and reads the environment where they name no connection. An
 * option that is undefined counts as left out.
 *
 * @throws ConfigurationError naming each option and variable that is wrong, with the remedy
 */
export function resolveOptions(
  options: FrameForgeDatabaseOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): ResolvedOptions {
  refuse(problemsOf(options));
  const given: FrameForgeDatabaseOptions = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
  const problems: string[] = [];
  const {
    migrationsRun = true,
    migrationsLockTimeoutMs = 300_000,
    requireCurrentSchema = false,
    connectRetryMs = 60_000,
    shutdownTimeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS,
    preparedStatements = preparedStatementsFrom(env, problems),
    notifyWorkers = false,
    autoLoadEntities = false,
    entities = [],
    migrations = [],
    ...typeorm
  } = given;
  const connected =
    typeorm.url !== undefined ||
    typeorm.replication !== undefined ||
    CREDENTIALS.some((key) => typeorm[key] !== undefined);
  const connection = connected ? {} : connectionFrom(env, typeorm.ssl, problems);
  refuse(problems);
  return {
    dataSource: {
      // The package's keys are gen_random_uuid(), which needs no extension.
      uuidExtension: 'pgcrypto',
      installExtensions: false,
      migrationsTransactionMode: 'each',
      connectTimeoutMS: 30_000,
      ...typeorm,
      // So that a connection whose other end has vanished is noticed, and one that is idle while a
      // migration takes its time is not forgotten by what is between. The system's delay is 2 h.
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
    notifyWorkers,
    autoLoadEntities,
  };
}

function problemsOf(options: FrameForgeDatabaseOptions): string[] {
  // What a factory returned may be anything.
  if (typeof options !== 'object' || options === null) return ['its options must be an object'];
  const problems = Object.keys(options)
    .filter((key) => !Object.hasOwn(KNOWN, key))
    .map((key) => `\`${key}\` is not an option here: ${remedyOf(key)}`);
  const { type, url, ssl, port, poolSize, schema, replication } = options;
  for (const key of ['synchronize', 'dropSchema'] as const) {
    if ((options[key] ?? false) !== false) {
      problems.push(`\`${key}\` must stay false: ${remedyOf(key)}`);
    }
  }
  if (type !== undefined && type !== 'postgres') {
    problems.push(`\`type\` is '${String(type)}': this package needs 'postgres', the default`);
  }
  const given = CREDENTIALS.filter((key) => options[key] !== undefined);
  if (url !== undefined && given.length > 0) {
    problems.push(`\`url\` and \`${given.join('`, `')}\` contradict each other: give one of them`);
  }
  if (replication !== undefined && (url !== undefined || given.length > 0)) {
    problems.push('`replication` names its own servers: remove `url`, `host` and its kin');
  }
  if (options.migrationsRun === false && options.migrationsLockTimeoutMs !== undefined) {
    problems.push('`migrationsLockTimeoutMs` does nothing with `migrationsRun: false`: remove one');
  }
  for (const key of MILLISECONDS) {
    if (options[key] !== undefined && !isWholeNumber(options[key], 0)) {
      problems.push(`\`${key}\` must be a whole number of milliseconds, 0 or more`);
    }
  }
  for (const key of BOOLEANS) {
    if (options[key] !== undefined && typeof options[key] !== 'boolean') {
      problems.push(`\`${key}\` must be true or false`);
    }
  }
  if (poolSize !== undefined && !isWholeNumber(poolSize, 1)) {
    problems.push('`poolSize` must be a whole number of connections, 1 or more');
  }
  if (port !== undefined && !isPort(port)) {
    problems.push('`port` must be a port number from 1 to 65535');
  }
  if (schema === '') problems.push('`schema` must not be empty: leave it out for the default one');
  if (url !== undefined) {
    problems.push(...urlProblems('`url`', url), ...sslProblems('`url`', url, '`ssl`', ssl));
  }
  return problems;
}

const isWholeNumber = (value: unknown, min: number): boolean =>
  Number.isSafeInteger(value) && Number(value) >= min;

const remedyOf = (key: string): string =>
  Object.hasOwn(REMEDIES, key) ? `${REMEDIES[key]}` : 'remove it, or correct its spelling';

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) {
    throw new ConfigurationError(`FrameForgeDatabaseModule cannot start: ${problems.join('; ')}.`);
  }
}
