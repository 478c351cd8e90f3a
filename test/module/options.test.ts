import { resolveOptions } from '../../src/database.options.js';
import type { FrameForgeDatabaseOptions } from '../../src/database.options.js';
import { RULES } from '../../src/database.rules.js';
import { ConfigurationError } from '../../src/errors.js';
import { frameForgeEntities, User } from '../../src/schema/entities/index.js';
import { frameForgeMigrations } from '../../src/schema/migrations/index.js';

const SECRET = 'pa55word';
const DATABASE = `postgres://app:${SECRET}@db.example.com:5433/frameforge`;
const HOST = {
  DB_HOST: 'db.example.com',
  DB_USER: 'app',
  DB_PASSWORD: SECRET,
  DB_NAME: 'frameforge',
};

/** The URL that the driver gets. */
const read = (url: string): unknown => resolveOptions({ url }, {}).dataSource.url;

/** The message of the error, without the beginning that all of them have. */
function refusal(options: unknown, env: NodeJS.ProcessEnv = {}): string {
  try {
    resolveOptions(options as FrameForgeDatabaseOptions, env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error).toMatchObject({ code: 'CONFIGURATION_INVALID', name: 'ConfigurationError' });
    const { message } = error as Error;
    const prefix = 'FrameForgeDatabaseModule cannot start: ';
    expect(message.slice(0, prefix.length)).toBe(prefix);
    expect(message).not.toContain(SECRET);
    return message.slice(prefix.length);
  }
  throw new Error('The options were accepted.');
}

const connectionOf = (options: FrameForgeDatabaseOptions, env: NodeJS.ProcessEnv = {}): object => {
  const { dataSource } = resolveOptions(options, env);
  const { url, host, port, username, password, database, ssl } = dataSource;
  return Object.fromEntries(
    Object.entries({ url, host, port, username, password, database, ssl }).filter(
      ([, value]) => value !== undefined,
    ),
  );
};

const port = (value: string): string =>
  `DB_PORT is '${value}': set it to a port number from 1 to 65535.`;
const contradiction = (option: string): string =>
  `DATABASE_URL has parameters for TLS that contradict ${option}: remove one of them ` +
  `(the driver would obey the URL).`;

/** The message about a parameter of a URL. */
const parameterRefusal = (parameter: string): string =>
  refusal({ url: `${DATABASE}?${parameter}` });

describe('defaults', () => {
  it('are complete, and equal those in the documentation', () => {
    expect(resolveOptions({ url: DATABASE }, {})).toEqual({
      dataSource: {
        type: 'postgres',
        url: DATABASE,
        uuidExtension: 'pgcrypto',
        installExtensions: false,
        migrationsTransactionMode: 'each',
        connectTimeoutMS: 30_000,
        extra: { keepAlive: true, keepAliveInitialDelayMillis: 10_000 },
        entities: frameForgeEntities,
        migrations: frameForgeMigrations,
        migrationsRun: false,
      },
      boot: {
        migrationsRun: true,
        migrationsLockTimeoutMs: 300_000,
        requireCurrentSchema: false,
        connectRetryMs: 60_000,
        shutdownTimeoutMs: 10_000,
      },
      preparedStatements: true,
      replyTimeoutMs: 30_000,
      urlSchemes: ['https', 'http', 's3', 'gs', 'file'],
      jobParameters: undefined,
      currentManager: undefined,
      notifyWorkers: false,
      listen: false,
      autoLoadEntities: false,
    });
  });

  it('of preparedStatements comes from the environment', () => {
    const of = (value: string): boolean =>
      resolveOptions({ url: DATABASE }, { DB_PREPARED_STATEMENTS: value }).preparedStatements;
    expect([of('false'), of('true'), of('')]).toEqual([false, true, true]);
    expect(() => of('no')).toThrow(`DB_PREPARED_STATEMENTS is 'no': set it to true or false`);
    expect(
      resolveOptions(
        { url: DATABASE, preparedStatements: true },
        { DB_PREPARED_STATEMENTS: 'false' },
      ).preparedStatements,
    ).toBe(true);
  });

  it('of `extra` are kept beside those of the application', () => {
    expect(
      resolveOptions({ url: DATABASE, extra: { statement_timeout: 5 } }, {}).dataSource.extra,
    ).toEqual({ keepAlive: true, keepAliveInitialDelayMillis: 10_000, statement_timeout: 5 });
  });

  it('replace options that are undefined, and do not replace 0 and false', () => {
    const left = resolveOptions({ url: DATABASE }, {});
    const others = [
      'preparedStatements',
      'replyTimeoutMs',
      'notifyWorkers',
      'autoLoadEntities',
      'installExtensions',
      'uuidExtension',
    ];
    const keys = [...Object.keys(left.boot), ...others, 'schema'];
    const undefineds = Object.fromEntries(keys.map((key) => [key, undefined]));
    expect(resolveOptions({ url: DATABASE, ...undefineds }, {})).toEqual(left);
    expect(
      resolveOptions({ url: DATABASE, connectRetryMs: 0, shutdownTimeoutMs: 0 }, {}).boot,
    ).toEqual({
      ...left.boot,
      connectRetryMs: 0,
      shutdownTimeoutMs: 0,
    });
    expect(resolveOptions({ url: DATABASE, migrationsRun: false }, {}).boot.migrationsRun).toBe(
      false,
    );
    expect(
      resolveOptions({ url: DATABASE, preparedStatements: false }, {}).preparedStatements,
    ).toBe(false);
  });

  it('include the entities and migrations of the application, each once', () => {
    class Theirs {}
    class TheirMigration {}
    const { dataSource } = resolveOptions(
      {
        url: DATABASE,
        entities: [Theirs, User],
        migrations: [TheirMigration, ...frameForgeMigrations] as never,
      },
      {},
    );
    expect(dataSource.entities).toEqual([...frameForgeEntities, Theirs]);
    expect(dataSource.migrations).toEqual([...frameForgeMigrations, TheirMigration]);
    expect(resolveOptions({ url: DATABASE, entities: { Theirs } }, {}).dataSource.entities).toEqual(
      [...frameForgeEntities, Theirs],
    );
  });

  it("pass TypeORM's own options through", () => {
    const own = { poolSize: 7, schema: 's', applicationName: 'a', extra: { keepAlive: true } };
    expect(resolveOptions({ url: DATABASE, ...own }, {}).dataSource).toMatchObject(own);
    expect(
      resolveOptions({ url: DATABASE, synchronize: false, dropSchema: false }, {}).dataSource,
    ).toMatchObject({ synchronize: false });
  });
});

describe('the environment', () => {
  it.each<[string, NodeJS.ProcessEnv, object]>([
    ['DATABASE_URL', { DATABASE_URL: DATABASE }, { url: DATABASE }],
    ['DATABASE_URL before DB_HOST', { ...HOST, DATABASE_URL: DATABASE }, { url: DATABASE }],
    [
      // Kubernetes sets these variables for a service that is named `db`.
      'DATABASE_URL whatever the unused variables are',
      { DATABASE_URL: DATABASE, DB_PORT: 'tcp://10.0.0.1:5432' },
      { url: DATABASE },
    ],
    [
      'DB_HOST and the variables that belong to it',
      { ...HOST, DB_PORT: '5433' },
      {
        host: 'db.example.com',
        port: 5433,
        username: 'app',
        password: SECRET,
        database: 'frameforge',
      },
    ],
    [
      'the default port, and no password',
      { ...HOST, DB_PASSWORD: '', DB_PORT: '', DATABASE_URL: '' },
      { host: 'db.example.com', port: 5432, username: 'app', database: 'frameforge' },
    ],
    ['DB_SSL', { DATABASE_URL: DATABASE, DB_SSL: 'true' }, { url: DATABASE, ssl: true }],
    [
      'DB_SSL that is off',
      { DATABASE_URL: DATABASE, DB_SSL: 'false', PGSSLMODE: 'require' },
      { url: DATABASE, ssl: false },
    ],
    [
      'DB_SSL and a URL that agree',
      { DATABASE_URL: `${DATABASE}?sslmode=require`, DB_SSL: 'true' },
      { url: `${DATABASE}?sslmode=require`, ssl: true },
    ],
  ])('gives %s', (_, env, expected) => {
    expect(connectionOf({}, env)).toEqual(expected);
    expect(connectionOf({ url: undefined, host: undefined }, env)).toEqual(expected);
  });

  it('is not read when the options name a connection', () => {
    const env = { DATABASE_URL: 'not a URL', DB_SSL: 'not a boolean', DB_PORT: 'x' };
    expect(connectionOf({ url: DATABASE }, env)).toEqual({ url: DATABASE });
    expect(connectionOf({ host: 'h', database: 'd' }, env)).toEqual({ host: 'h', database: 'd' });
    const replication = { master: { url: DATABASE }, slaves: [{ url: DATABASE }] };
    expect(resolveOptions({ replication }, env).dataSource).toMatchObject({ replication });
  });

  it('adds a connection to options of every other kind', () => {
    expect(connectionOf({ ssl: { ca: 'x' } }, { DATABASE_URL: DATABASE, DB_SSL: 'true' })).toEqual({
      url: DATABASE,
      ssl: { ca: 'x' },
    });
  });

  const notUrl =
    'DATABASE_URL is not a PostgreSQL URL: write it as postgres://user:password@host:5432/name, ' +
    'with special characters of the password percent-encoded.';
  const none =
    'no connection is configured: set DATABASE_URL (postgres://user:password@host:5432/name) or ' +
    'DB_HOST, DB_PORT, DB_USER, DB_PASSWORD and DB_NAME, or give `url` to forRoot.';
  it.each<[NodeJS.ProcessEnv, string]>([
    [{}, none],
    [{ DATABASE_URL: '', DB_HOST: '' }, none],
    [{ DB_PORT: '5432', DB_NAME: 'x' }, none],
    [{ DATABASE_URL: `mysql://app:${SECRET}@h/d` }, notUrl],
    [{ DATABASE_URL: 'db.example.com:5432' }, notUrl],
    [{ DATABASE_URL: `postgres://app:${SECRET}@h:port/d` }, notUrl],
    // These passwords have special characters that are not encoded. A part of the password would be taken for a host,
    // for example.
    [{ DATABASE_URL: `postgres://app:${SECRET}/x@h/d` }, notUrl],
    [{ DATABASE_URL: `postgres://app:12/${SECRET}@h/d` }, notUrl],
    [{ DATABASE_URL: `postgres://app:12#${SECRET}@h/d` }, notUrl],
    [{ DATABASE_URL: `postgres://app:12?${SECRET}@h/d` }, notUrl],
    [{ DATABASE_URL: `postgres://app:${SECRET}%@h/d` }, notUrl],
    [{ DATABASE_URL: `postgres://app:p@ss/${SECRET}@h/d` }, notUrl],
    [{ DATABASE_URL: ` ${DATABASE}` }, notUrl],
    [{ DB_HOST: 'h' }, 'DB_HOST is set, but not DB_USER and DB_NAME: set DB_USER and DB_NAME too.'],
    [
      { DB_HOST: 'h', DB_USER: 'u', DB_PASSWORD: SECRET },
      'DB_HOST is set, but not DB_NAME: set DB_USER and DB_NAME too.',
    ],
    ...['0', '65536', '-1', '5432.5', '5e3', '0x10', 'five', ' 5432', 'tcp://10.0.0.1:5432'].map(
      (value): [NodeJS.ProcessEnv, string] => [{ ...HOST, DB_PORT: value }, port(value)],
    ),
    ...['yes', '1', 'TRUE', 'require'].map((value): [NodeJS.ProcessEnv, string] => [
      { ...HOST, DB_SSL: value },
      `DB_SSL is '${value}': set it to true or false.`,
    ]),
    [{ DATABASE_URL: `${DATABASE}?sslmode=disable`, DB_SSL: 'true' }, contradiction('DB_SSL')],
    [{ DATABASE_URL: `${DATABASE}?sslmode=no-verify`, DB_SSL: 'true' }, contradiction('DB_SSL')],
    [
      { DB_HOST: 'h', DB_PORT: 'x', DB_SSL: 'x' },
      "DB_SSL is 'x': set it to true or false; " +
        'DB_HOST is set, but not DB_USER and DB_NAME: set DB_USER and DB_NAME too; ' +
        "DB_PORT is 'x': set it to a port number from 1 to 65535.",
    ],
  ])('refuses %j', (env, message) => {
    expect(refusal({}, env)).toBe(message);
  });

  it('refuses a URL whose parameters drop the certificate of the option', () => {
    const env = { DATABASE_URL: `${DATABASE}?sslmode=require` };
    expect(refusal({ ssl: { ca: 'x' } }, env)).toBe(contradiction('`ssl`'));
    expect(refusal({ ssl: false }, env)).toBe(contradiction('`ssl`'));
  });
});

describe('options', () => {
  it.each<[unknown, string]>([
    [null, 'its options must be an object.'],
    ['postgres://', 'its options must be an object.'],
    [{ ulr: DATABASE }, '`ulr` is not an option here: remove it, or correct its spelling.'],
    [
      { migrationRun: true, toString: 1 },
      '`migrationRun` is not an option here: remove it, or correct its spelling; ' +
        '`toString` is not an option here: remove it, or correct its spelling.',
    ],
    [
      { password: SECRET, pasword: SECRET },
      '`pasword` is not an option here: remove it, or correct its spelling.',
    ],
    [
      { name: 'x' },
      '`name` is not an option here: give it beside useFactory, as ' +
        'forRootAsync({ name, useFactory }): Nest needs it earlier.',
    ],
    [{ retryAttempts: 3 }, '`retryAttempts` is not an option here: use `connectRetryMs`.'],
    [{ retryDelay: 3 }, '`retryDelay` is not an option here: use `connectRetryMs`.'],
    [
      { entityPrefix: 'x_' },
      '`entityPrefix` is not an option here: the table names are fixed: use `schema` to keep them apart.',
    ],
    [
      { synchronize: true },
      '`synchronize` must stay false: the migrations own the schema: ' +
        'write a migration for your own entities.',
    ],
    [
      { dropSchema: true },
      '`dropSchema` must stay false: it would drop the data of every service: ' +
        'drop the schema by hand where you mean it.',
    ],
    [{ type: 'mysql' }, "`type` is 'mysql': this package needs 'postgres', the default."],
    [
      { url: DATABASE, host: 'h', password: SECRET },
      '`url` and `host`, `password` contradict each other: give one of them.',
    ],
    [
      { url: DATABASE, replication: { master: {}, slaves: [] } },
      '`replication` names its own servers: remove `url`, `host`, `port`, `username`, `password` and `database`.',
    ],
    [
      { migrationsRun: false, migrationsLockTimeoutMs: 1 },
      '`migrationsLockTimeoutMs` does nothing with `migrationsRun: false`: remove one.',
    ],
    ...[
      'migrationsLockTimeoutMs',
      'connectRetryMs',
      'shutdownTimeoutMs',
      'connectTimeoutMS',
    ].flatMap((key) =>
      [-1, 0.5, Number.NaN, Infinity, '60', 2 ** 31, 2 ** 40].map((value): [unknown, string] => [
        { [key]: value },
        `\`${key}\` must be a whole number of milliseconds from 0 to 2147483647.`,
      ]),
    ),
    ...[
      'migrationsRun',
      'requireCurrentSchema',
      'preparedStatements',
      'notifyWorkers',
      'autoLoadEntities',
    ].flatMap((key) =>
      ['true', 1, null].map((value): [unknown, string] => [
        { [key]: value },
        `\`${key}\` must be true or false.`,
      ]),
    ),
    ...[0, -1, 1.5, '10'].map((value): [unknown, string] => [
      { poolSize: value },
      '`poolSize` must be a whole number of connections from 1 to 262143.',
    ]),
    ...[0, 65_536, Number.NaN, 'x', '', null].map((value): [unknown, string] => [
      { host: 'h', port: value },
      '`port` must be a port number from 1 to 65535.',
    ]),
    [
      { applicationName: 5 },
      '`applicationName` must be a text that is not empty: leave it out for the default.',
    ],
    [{ schema: 5 }, '`schema` must be a text that is not empty: leave it out for the default.'],
    ...['false', 'true', 0, null].map((value): [unknown, string] => [
      { ssl: value },
      '`ssl` must be true or false, or an object such as { ca }.',
    ]),
    [
      { replication: { master: { url: DATABASE, ssl: 'false' }, slaves: [] } },
      'the `ssl` of the master in `replication` must be true or false, or an object such as { ca }.',
    ],
    ...[true, {}, { type: 'database' }, { alwaysEnabled: true, duration: 5 }].map(
      (value): [unknown, string] => [
        { cache: value },
        '`cache` would keep results in a table that only `synchronize` makes: give it a `provider`, ' +
          "or the type 'redis' or 'ioredis'.",
      ],
    ),
    [
      { isolationLevel: 'SNAPSHOT', logging: ['all'] },
      "`isolationLevel` must be 'READ UNCOMMITTED' or 'READ COMMITTED' or 'REPEATABLE READ' or " +
        "'SERIALIZABLE'; `logging` must be true, false, 'all', or an array of query, schema, error, " +
        'warn, info, log, migration.',
    ],
    [{ schema: '' }, '`schema` must be a text that is not empty: leave it out for the default.'],
    ...[`app:${SECRET}@h/d`, '', 5, `postgres://app:${SECRET}@h:x/d`].map(
      (url): [unknown, string] => [
        { url },
        '`url` is not a PostgreSQL URL: write it as postgres://user:password@host:5432/name, ' +
          'with special characters of the password percent-encoded.',
      ],
    ),
    [
      { url: `${DATABASE}?sslmode=disable`, ssl: true },
      '`url` has parameters for TLS that contradict `ssl`: remove one of them ' +
        '(the driver would obey the URL).',
    ],
  ])('refuses %j', (options, message) => {
    expect(refusal(options, { DATABASE_URL: DATABASE })).toBe(message);
  });

  it.each(Object.keys(RULES).filter((key) => !['driver', 'nativeDriver'].includes(key)))(
    'refuses a `%s` of a wrong type, and names it',
    (key) => {
      expect(refusal({ [key]: Symbol('strange') }, { DATABASE_URL: DATABASE })).toContain(
        `\`${key}\` `,
      );
    },
  );

  const password = async (): Promise<string> => SECRET;

  it('accepts what TypeORM accepts', () => {
    const options: FrameForgeDatabaseOptions = {
      url: DATABASE,
      logging: ['query', 'error'],
      logger: 'debug',
      cache: { type: 'ioredis' },
      isolationLevel: 'SERIALIZABLE',
      poolErrorHandler: () => {},
      extensions: [],
      ssl: { ca: 'x' },
      parseInt8: true,
    };
    expect(resolveOptions(options, {}).dataSource).toMatchObject(options);
    expect(resolveOptions({ url: DATABASE, cache: false, logging: 'all' }, {})).toBeDefined();
    expect(resolveOptions({ host: 'h', password: password as never }, {})).toBeDefined();
  });

  it('accepts a port as a text, as a configuration service returns it', () => {
    expect(connectionOf({ host: 'h', port: '5433' as never })).toEqual({ host: 'h', port: '5433' });
  });

  it.each(['postgres', 'postgresql'])('reads the schema of a %s URL', (scheme) => {
    const url = `${scheme}://app:${SECRET}@h/d?schema=app`;
    for (const [options, env] of [
      [{ url }, {}],
      [{ url, schema: 'app' }, {}],
      [{}, { DATABASE_URL: url }],
    ] as const) {
      expect(resolveOptions(options, env).dataSource).toMatchObject({ url, schema: 'app' });
    }
    const message = 'the URL names another `schema` than the option: remove one of them.';
    expect(refusal({ url, schema: 'other' })).toBe(message);
    expect(refusal({ schema: 'other' }, { DATABASE_URL: url })).toBe(message);
    expect(refusal({ url: `${DATABASE}?schema=` })).toBe(
      '`url` has an empty schema: remove it for the default one.',
    );
    expect(refusal({ replication: { master: { url }, slaves: [] } })).toBe(
      'the `url` of the master in `replication` names a schema: all servers have one, so give it as `schema`.',
    );
  });

  it('gives a socket URL a host, which TypeORM and Node need, and keeps its folder', () => {
    expect(read('postgresql://u:p@/db?host=/run/x')).toBe(
      'postgresql://u:p@localhost/db?host=/run/x',
    );
    expect(read('postgresql://u@:5433/db?host=%2Frun')).toBe(
      'postgresql://u@localhost:5433/db?host=%2Frun',
    );
    const slave = { url: 'postgresql://u:p@/db?host=/run/x' };
    const replication = { master: slave, slaves: [slave] };
    expect(resolveOptions({ replication }, {}).dataSource.replication).toEqual({
      master: { url: 'postgresql://u:p@localhost/db?host=/run/x' },
      slaves: [{ url: 'postgresql://u:p@localhost/db?host=/run/x' }],
    });
  });

  it('refuses parameters of a URL that the driver ignores or understands differently', () => {
    expect(parameterRefusal('connection_limit=5')).toBe(
      '`url` has the parameter connection_limit, which the driver does not read: use the option `poolSize`.',
    );
    expect(parameterRefusal('search_path=app')).toContain('use `schema`');
    expect(parameterRefusal('application=x')).toContain('the parameter application, which');
    expect(parameterRefusal('ssl=disable')).toBe(
      '`url` has ssl=disable: set it to true or false or 1 or 0 or no-verify.',
    );
    expect(parameterRefusal('sslmode=allow')).toContain(
      '`url` has sslmode=allow: set it to disable or prefer',
    );
    expect(resolveOptions({ url: `${DATABASE}?ssl=false` }, {}).dataSource.url).toBe(
      `${DATABASE}?ssl=0`,
    );
    for (const parameter of ['application_name=x', 'options=-c%20a=b', 'connect_timeout=3']) {
      expect(connectionOf({ url: `${DATABASE}?${parameter}` })).toEqual({
        url: `${DATABASE}?${parameter}`,
      });
    }
  });

  it('refuses an unknown PGSSLMODE if the driver would read it', () => {
    const env = { PGSSLMODE: 'on' };
    const message =
      "PGSSLMODE is 'on': set it to disable or prefer or require or verify-ca or verify-full or no-verify.";
    expect(refusal({ url: DATABASE }, env)).toBe(message);
    expect(refusal({}, { ...env, DATABASE_URL: DATABASE })).toBe(message);
    expect(resolveOptions({ url: DATABASE, ssl: true }, env)).toBeDefined();
    expect(resolveOptions({}, { ...env, DATABASE_URL: DATABASE, DB_SSL: 'false' })).toBeDefined();
  });

  it('accepts a password with encoded special characters', () => {
    const url = `postgres://app:${encodeURIComponent('p@/#?:%ss')}@h/d`;
    expect(connectionOf({ url })).toEqual({ url });
  });
});
