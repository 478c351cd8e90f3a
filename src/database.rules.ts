import type { FrameForgeDatabaseOptions } from './database.options.js';
import { isPort } from './database.url.js';
import type { OptionRule } from './input/option.rules.js';
import {
  aFunction,
  anObject,
  anything,
  either,
  flag,
  list,
  milliseconds,
  oneOf,
  text,
  urlSchemes,
  wholeNumber,
} from './input/option.rules.js';

const staysFalse =
  (why: string): OptionRule =>
  (value) =>
    value === null || value === false ? undefined : `must stay false: ${why}`;

const port: OptionRule = (value) =>
  isPort(value) ? undefined : 'must be a port number from 1 to 65535';

const logLevels = ['query', 'schema', 'error', 'warn', 'info', 'log', 'migration'];

/** Options that only some of the supported TypeORM versions have. */
type Newer =
  'extensions' | 'isolationLevel' | 'isolateWhereStatements' | 'invalidWhereValuesBehavior';

/** The rule of every option. The type makes the compiler report a missing option. */
export const RULES: Record<keyof FrameForgeDatabaseOptions | Newer, OptionRule> = {
  type: (value) =>
    value === 'postgres'
      ? undefined
      : `is '${String(value)}': this package needs 'postgres', the default`,
  // `readUrl` checks it.
  url: anything,
  host: text,
  port,
  username: text,
  password: either(
    'must be a text, or a function that returns one',
    (value) => (typeof value === 'string' ? undefined : 'no'),
    aFunction,
  ),
  database: text,
  schema: text,
  ssl: either(`must be true or false, or an object such as { ca }`, flag, anObject),
  applicationName: text,
  connectTimeoutMS: milliseconds,
  driver: anything,
  nativeDriver: anything,
  useUTC: flag,
  replication: anObject,
  uuidExtension: oneOf('pgcrypto', 'uuid-ossp'),
  poolErrorHandler: aFunction,
  logNotifications: flag,
  installExtensions: flag,
  parseInt8: flag,
  extensions: list,
  entities: list,
  migrations: list,
  subscribers: list,
  logging: either(
    `must be true, false, 'all', or an array of ${logLevels.join(', ')}`,
    flag,
    oneOf('all', ...logLevels),
    (value) =>
      Array.isArray(value) && value.every((each) => logLevels.includes(each)) ? undefined : 'no',
  ),
  logger: either(
    `must be an object, or one of TypeORM's names, such as 'advanced-console'`,
    oneOf('advanced-console', 'simple-console', 'formatted-console', 'file', 'debug'),
    anObject,
  ),
  maxQueryExecutionTime: milliseconds,
  // The most connections that a server can have.
  poolSize: wholeNumber(1, 262_143, 'connections'),
  namingStrategy: anObject,
  isolationLevel: oneOf('READ UNCOMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'),
  migrationsTableName: text,
  migrationsTransactionMode: oneOf('each', 'all', 'none'),
  metadataTableName: text,
  entitySkipConstructor: flag,
  extra: anObject,
  relationLoadStrategy: oneOf('join', 'query'),
  typename: text,
  cache: (value) => {
    const { type, provider } = (value ?? {}) as { type?: unknown; provider?: unknown };
    const isElsewhere = provider !== undefined || /redis/.test(String(type));
    return value === false || isElsewhere
      ? undefined
      : 'would keep results in a table that only `synchronize` makes: give it a `provider`, or the ' +
          "type 'redis' or 'ioredis'";
  },
  isolateWhereStatements: flag,
  invalidWhereValuesBehavior: anObject,
  synchronize: staysFalse('the migrations own the schema: write a migration for your own entities'),
  dropSchema: staysFalse(
    'it would drop the data of every service: drop the schema by hand where you mean it',
  ),
  migrationsRun: flag,
  migrationsLockTimeoutMs: milliseconds,
  requireCurrentSchema: flag,
  connectRetryMs: milliseconds,
  shutdownTimeoutMs: milliseconds,
  preparedStatements: flag,
  replyTimeoutMs: wholeNumber(1, 2 ** 31 - 1, 'milliseconds'),
  urlSchemes,
  jobParameters: aFunction,
  currentManager: aFunction,
  notifyWorkers: flag,
  listen: flag,
  autoLoadEntities: flag,
};

const REMEDIES: Readonly<Record<string, string>> = {
  entityPrefix: 'the table names are fixed: use `schema` to keep them apart',
  name: 'give it beside useFactory, as forRootAsync({ name, useFactory }): Nest needs it earlier',
  retryAttempts: 'use `connectRetryMs`',
  retryDelay: 'use `connectRetryMs`',
  toRetry: 'use `connectRetryMs`: only what can heal is retried',
};

/** The remedy for an unknown option. */
export const remedyOf = (key: string): string =>
  Object.hasOwn(REMEDIES, key) ? `${REMEDIES[key]}` : 'remove it, or correct its spelling';
