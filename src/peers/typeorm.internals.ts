import type {
  DataSource,
  DataSourceOptions,
  EntityManager,
  EntitySubscriberInterface,
  QueryRunner,
} from 'typeorm';
import { importClassesFromDirectories } from 'typeorm/util/DirectoryExportedClassesLoader.js';
import { requireParts } from './library.version.js';
import type { PgPool } from './pg.internals.js';

// The only place that uses parts of TypeORM which are not public, or differ between 0.3 and 1.x:
//
// - the pools of the PostgreSQL driver, because TypeORM has no prepared statements and no way to drain a pool;
// - the library with which the driver makes pools, because an `error` event of a new connection comes before
//   TypeORM listens;
// - the query runners that hold connections, to close them and to name them in messages;
// - the schema builder's way to make TypeORM's own table, where the migrations of an application need it;
// - the list of subscribers, to follow the commits of a data source that is open already;
// - the loader of classes, because the template of the tests depends on the files that patterns name.

export { importClassesFromDirectories };

/** TypeORM's options for PostgreSQL, whose type has another name in each major version. */
export type PostgresOptions = Extract<DataSourceOptions, { type: 'postgres' }>;

interface PostgresDriverParts {
  readonly master?: PgPool;
  readonly slaves?: readonly PgPool[];
  readonly connectedQueryRunners: readonly QueryRunner[];
  postgres: { readonly Pool: PoolClass };
}

type PoolClass = new (options: object) => PgPool;

const driverOf = (dataSource: DataSource): PostgresDriverParts =>
  dataSource.driver as unknown as PostgresDriverParts;

/**
 * Checks that TypeORM has the parts that are used here.
 *
 * @throws ConfigurationError naming the version of TypeORM, if it lacks a part
 */
export function requireTypeormParts(dataSource: DataSource): void {
  const driver: Partial<PostgresDriverParts> = driverOf(dataSource);
  const builder = dataSource.driver.createSchemaBuilder() as Partial<MetadataTableBuilder>;
  requireParts('typeorm', {
    'driver.connectedQueryRunners': Array.isArray(driver.connectedQueryRunners),
    'driver.postgres.Pool': typeof driver.postgres?.Pool === 'function',
    'dataSource.subscribers': Array.isArray(dataSource.subscribers),
    'schemaBuilder.createMetadataTableIfNecessary':
      typeof builder.createMetadataTableIfNecessary === 'function',
  });
}

/** The data source of a manager or a query runner, which TypeORM before 1.0 calls `connection`. */
export function dataSourceOf(of: EntityManager | QueryRunner): DataSource {
  const { dataSource, connection } = of as { dataSource?: DataSource; connection?: DataSource };
  return (dataSource ?? connection) as DataSource;
}

/** The open pools of a data source: first the pool of the primary, then the pools of the replicas. */
export function poolsOf(dataSource: DataSource): PgPool[] {
  const { master, slaves = [] } = driverOf(dataSource);
  return [master, ...slaves].filter((pool) => pool !== undefined);
}

/** The query runners of a data source that hold a connection. */
export const holdersOf = (dataSource: DataSource): readonly QueryRunner[] =>
  driverOf(dataSource).connectedQueryRunners;

/**
 * Calls back for each pool of a data source, now and in the future.
 *
 * @param dataSource - it need not be initialized yet
 */
export function onEachPool(dataSource: DataSource, callback: (pool: PgPool) => void): void {
  poolsOf(dataSource).forEach(callback);
  const driver = driverOf(dataSource);
  class FollowedPool extends driver.postgres.Pool {
    constructor(options: object) {
      super(options);
      callback(this);
    }
  }
  driver.postgres = Object.create(driver.postgres, {
    Pool: { value: FollowedPool },
  }) as PostgresDriverParts['postgres'];
}

/** Adds a subscriber to a data source that is open already. */
export function subscribe(dataSource: DataSource, subscriber: EntitySubscriberInterface): void {
  dataSource.subscribers.push(subscriber);
}

interface MetadataTableBuilder {
  createMetadataTableIfNecessary(queryRunner: QueryRunner): Promise<void>;
}

/** Makes the table in which TypeORM keeps views and generated columns, where the entities need it. */
export async function createMetadataTable(queryRunner: QueryRunner): Promise<void> {
  const builder: unknown = dataSourceOf(queryRunner).driver.createSchemaBuilder();
  await (builder as MetadataTableBuilder).createMetadataTableIfNecessary(queryRunner);
}
