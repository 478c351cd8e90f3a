import type { DataSource } from 'typeorm';

/** How the migrations of a database and of this release compare. */
export interface MigrationStatus {
  /** Known here, not applied yet, in the order in which they will run. */
  readonly pending: readonly string[];
  /** Known here and applied, in the order in which they ran. */
  readonly applied: readonly string[];
  /** Applied, but unknown here: a newer release was at work. */
  readonly unknown: readonly string[];
}

/** Compares the migrations of the database with those of the data source, in one round trip. */
export async function migrationStatus(dataSource: DataSource): Promise<MigrationStatus> {
  const applied = await appliedMigrations(dataSource);
  const known = dataSource.migrations
    .map((migration) => migration.name ?? migration.constructor.name)
    // TypeORM's own order: by the time at the end of the name.
    .toSorted((a, b) => Number(a.slice(-13)) - Number(b.slice(-13)));
  return {
    pending: known.filter((name) => !applied.includes(name)),
    applied: applied.filter((name) => known.includes(name)),
    unknown: applied.filter((name) => !known.includes(name)),
  };
}

async function appliedMigrations(dataSource: DataSource): Promise<string[]> {
  const { migrationsTableName, schema } = dataSource.options as {
    migrationsTableName?: string;
    schema?: string;
  };
  const table = [...(schema === undefined ? [] : [schema]), migrationsTableName ?? 'migrations']
    .map((part) => dataSource.driver.escape(part))
    .join('.');
  const queryRunner = dataSource.createQueryRunner('master');
  try {
    const rows: { name: string }[] = await queryRunner.query(
      `SELECT name FROM ${table} ORDER BY id`,
    );
    return rows.map(({ name }) => name);
  } catch (error) {
    // No such table: nothing was ever migrated here.
    if ((error as { code?: string }).code === '42P01') return [];
    throw error;
  } finally {
    await queryRunner.release();
  }
}
