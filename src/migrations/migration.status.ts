import type { DataSource } from 'typeorm';
import { MigrationExecutor } from 'typeorm';
import { clauseOf, MigrationError } from '../errors.js';
import type { PgClient, PgResult } from '../connection/pools.js';

/** How the migrations of a database and of this release compare. */
export interface MigrationStatus {
  /** Known here, not applied yet, in the order in which they will run. */
  readonly pending: readonly string[];
  /** Known here and applied, in the order in which they ran. */
  readonly applied: readonly string[];
  /** Applied, but unknown here: a newer release was at work. */
  readonly unknown: readonly string[];
}

/**
 * Compares the migrations of the database with those of the data source, in one round trip. Changes
 * nothing, so that a role without rights on the schema may ask; TypeORM's own question would create
 * the table of migrations.
 *
 * @throws MigrationError if two migrations have one name, or a name does not end in a timestamp
 */
export async function migrationStatus(dataSource: DataSource): Promise<MigrationStatus> {
  const known = knownMigrations(dataSource);
  const applied = await appliedMigrations(dataSource);
  return {
    pending: known.filter((name) => !applied.includes(name)),
    applied: applied.filter((name) => known.includes(name)),
    unknown: applied.filter((name) => !known.includes(name)),
  };
}

/** Asks TypeORM, which also checks and orders them. */
class KnownMigrations extends MigrationExecutor {
  names(): string[] {
    return this.getMigrations().map(({ name }) => name);
  }
}

function knownMigrations(dataSource: DataSource): string[] {
  try {
    return new KnownMigrations(dataSource).names();
  } catch (cause) {
    throw new MigrationError(
      `This application's migrations cannot run: ${clauseOf(cause)}. Rename them.`,
      { cause },
    );
  }
}

async function appliedMigrations(dataSource: DataSource): Promise<string[]> {
  const { migrationsTableName, schema } = dataSource.options as {
    migrationsTableName?: string;
    schema?: string;
  };
  const table = [...(schema === undefined ? [] : [schema]), migrationsTableName ?? 'migrations']
    .map((part) => dataSource.driver.escape(part))
    .join('.');
  const query = `SELECT name FROM ${table} ORDER BY id`;
  const queryRunner = dataSource.createQueryRunner('master');
  try {
    // By pg's client: TypeORM would log the missing table of a new database as a failed query.
    const client = (await queryRunner.connect()) as PgClient;
    dataSource.logger.logQuery(query, [], queryRunner);
    const { rows } = (await client.query(query)) as PgResult;
    return rows.map(({ name }) => name);
  } catch (error) {
    // No such table: nothing was ever migrated here.
    if ((error as { code?: string }).code === '42P01') return [];
    throw error;
  } finally {
    await queryRunner.release();
  }
}
