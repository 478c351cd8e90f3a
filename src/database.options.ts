import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';
import { ConfigurationError } from './errors.js';
import { frameForgeEntities } from './schema/entities/index.js';
import { frameForgeMigrations } from './schema/migrations/index.js';

/** Options of TypeORM that would let it change the schema behind the migrations' back. */
type Forbidden = 'synchronize' | 'dropSchema' | 'entityPrefix';

/**
 * TypeORM's options for PostgreSQL, and this package's own. `entities` and `migrations` are added to
 * the package's. Without connection options (`url`, or `host` and its kin, or `replication`) the
 * environment is read: `DATABASE_URL`, else `DB_HOST`, `DB_PORT`, `DB_USER`, `DB_PASSWORD`,
 * `DB_NAME`, `DB_SSL`.
 */
export interface FrameForgeDatabaseOptions extends Partial<
  Omit<PostgresDataSourceOptions, Forbidden>
> {
  /** Run pending migrations at boot, one replica at a time. Default true. */
  readonly migrationsRun?: boolean;
  /** How long to wait, in ms, for another replica that is migrating. Default 300,000. */
  readonly migrationsLockTimeoutMs?: number;
  /** Refuse to boot on a database whose migrations are not exactly this release's. Default false. */
  readonly requireCurrentSchema?: boolean;
  /** How long to go on trying, in ms, to reach the database at boot. Default 60,000; 0 tries once. */
  readonly connectRetryMs?: number;
  /** Keep plans by name. Set false behind PgBouncer before 1.21 in transaction mode. Default true. */
  readonly preparedStatements?: boolean;
  /** Also load the entities that `TypeOrmModule.forFeature` names. Default false. */
  readonly autoLoadEntities?: boolean;
}

/** This package's own options, with their defaults. */
export interface BootOptions {
  readonly migrationsRun: boolean;
  readonly migrationsLockTimeoutMs: number;
  readonly requireCurrentSchema: boolean;
  readonly connectRetryMs: number;
}

/** The options of a boot, checked and complete. */
export interface ResolvedOptions {
  readonly dataSource: PostgresDataSourceOptions;
  readonly boot: BootOptions;
  readonly preparedStatements: boolean;
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
  migrationsRun: true,
  migrationsLockTimeoutMs: true,
  requireCurrentSchema: true,
  connectRetryMs: true,
  preparedStatements: true,
  autoLoadEntities: true,
};

const CREDENTIALS = ['host', 'port', 'username', 'password', 'database'] as const;

const REMEDIES: Record<string, string> = {
  synchronize: 'the migrations own the schema: write a migration for your own entities',
  dropSchema: 'it would drop the data of every service: drop the schema by hand where you mean it',
  entityPrefix: 'the table names are fixed: use `schema` to keep them apart',
  name: 'give it beside useFactory, as forRootAsync({ name, useFactory }): Nest needs it earlier',
  retryAttempts: 'use connectRetryMs',
  retryDelay: 'use connectRetryMs',
  toRetry: 'use connectRetryMs: only what can heal is retried',
};

/**
 * Checks options, fills in the defaults and reads the environment where they name no connection.
 *
 * @throws ConfigurationError naming each option that is unknown or contradicts another, with the remedy
 */
export function resolveOptions(
  options: FrameForgeDatabaseOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): ResolvedOptions {
  refuse(problemsOf(options));
  const {
    migrationsRun = true,
    migrationsLockTimeoutMs = 300_000,
    requireCurrentSchema = false,
    connectRetryMs = 60_000,
    preparedStatements = true,
    autoLoadEntities = false,
    entities = [],
    migrations = [],
    ...typeorm
  } = options;
  const connected =
    typeorm.url !== undefined ||
    typeorm.replication !== undefined ||
    CREDENTIALS.some((key) => typeorm[key] !== undefined);
  return {
    dataSource: {
      // The package's keys are gen_random_uuid(), which needs no extension.
      uuidExtension: 'pgcrypto',
      installExtensions: false,
      migrationsTransactionMode: 'each',
      ...typeorm,
      ...(connected ? {} : connectionFrom(env, typeorm.ssl)),
      type: 'postgres',
      entities: [...new Set([...frameForgeEntities, ...Object.values(entities)])],
      migrations: [...new Set([...frameForgeMigrations, ...Object.values(migrations)])],
      // openDataSource runs them, under a lock.
      migrationsRun: false,
    },
    boot: { migrationsRun, migrationsLockTimeoutMs, requireCurrentSchema, connectRetryMs },
    preparedStatements,
    autoLoadEntities,
  };
}

function problemsOf(options: FrameForgeDatabaseOptions): string[] {
  const problems: string[] = [];
  for (const key of Object.keys(options)) {
    if (!(key in KNOWN)) {
      problems.push(
        `\`${key}\` is not an option here: ${REMEDIES[key] ?? 'remove it, or correct its spelling'}`,
      );
    }
  }
  if (options.type !== undefined && options.type !== 'postgres') {
    problems.push(
      `\`type\` is '${String(options.type)}': this package needs 'postgres', the default`,
    );
  }
  const given = CREDENTIALS.filter((key) => options[key] !== undefined);
  if (options.url !== undefined && given.length > 0) {
    problems.push(`\`url\` and \`${given.join('`, `')}\` contradict each other: give one of them`);
  }
  if (options.replication !== undefined && (options.url !== undefined || given.length > 0)) {
    problems.push('`replication` names its own servers: remove `url`, `host` and its kin');
  }
  if (options.migrationsRun === false && options.migrationsLockTimeoutMs !== undefined) {
    problems.push('`migrationsLockTimeoutMs` does nothing with `migrationsRun: false`: remove one');
  }
  for (const key of ['migrationsLockTimeoutMs', 'connectRetryMs'] as const) {
    const value = options[key];
    if (value !== undefined && !(Number.isInteger(value) && value >= 0)) {
      problems.push(`\`${key}\` must be a whole number of milliseconds, 0 or more`);
    }
  }
  for (const key of [
    'migrationsRun',
    'requireCurrentSchema',
    'preparedStatements',
    'autoLoadEntities',
  ] as const) {
    if (options[key] !== undefined && typeof options[key] !== 'boolean') {
      problems.push(`\`${key}\` must be true or false`);
    }
  }
  if (options.url !== undefined) problems.push(...urlProblems('`url`', options.url));
  return problems;
}

/** Reads the connection from the environment. */
function connectionFrom(
  env: NodeJS.ProcessEnv,
  ssl: PostgresDataSourceOptions['ssl'],
): Partial<PostgresDataSourceOptions> {
  const { DATABASE_URL: url, DB_HOST: host, DB_PORT: port, DB_SSL: envSsl } = env;
  const problems: string[] = [];
  if (envSsl !== undefined && !['true', 'false', ''].includes(envSsl)) {
    problems.push(`DB_SSL is '${envSsl}': set it to true or false`);
  }
  if (url) problems.push(...urlProblems('DATABASE_URL', url));
  else if (!host) {
    problems.push(
      'no connection is configured: set DATABASE_URL (postgres://user:password@host:5432/name) or ' +
        'DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME, or give `url` to forRoot',
    );
  }
  if (port && !(/^\d+$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) {
    problems.push(`DB_PORT is '${port}': set it to a port number from 1 to 65535`);
  }
  refuse(problems);
  const tls = ssl ?? (envSsl === 'true' ? true : undefined);
  const secure = tls === undefined ? {} : { ssl: tls };
  if (url) return { url, ...secure };
  return {
    host,
    port: port ? Number(port) : 5432,
    username: env['DB_USER'],
    password: env['DB_PASSWORD'],
    database: env['DB_NAME'],
    ...secure,
  };
}

/** A URL may hold a password: no message shows it. */
function urlProblems(name: string, url: string): string[] {
  const valid = /^postgres(ql)?:\/\//.test(url) && URL.canParse(url);
  return valid
    ? []
    : [
        `${name} is not a PostgreSQL URL: write it as postgres://user:password@host:5432/name, ` +
          `with special characters of the password percent-encoded`,
      ];
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) {
    throw new ConfigurationError(`FrameForgeDatabaseModule cannot start: ${problems.join('; ')}.`);
  }
}
