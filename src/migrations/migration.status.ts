import type { DataSource } from 'typeorm';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import { knownMigrations, MigrationRecord } from './migration.record.js';
import { olderDifferences } from './older.database.js';

/** The migrations of a database, compared with the migrations of a data source. */
export interface MigrationStatus {
  /** Migrations that are known here and not applied yet, in the order in which they will run. */
  readonly pending: readonly string[];
  /** Migrations that are known here and applied, in the order in which they ran. */
  readonly applied: readonly string[];
  /** Applied migrations of this package that are unknown here: a newer release has migrated. */
  readonly unknown: readonly string[];
  /** The differences between the existing tables and those that the first three migrations make. */
  readonly older: readonly string[];
  /** Applied migrations of other services that share the record. */
  readonly others: readonly string[];
}

/**
 * Compares the migrations of the database with the migrations of the data source. It takes one round trip, or
 * two if the application has its own table of migrations. Changes nothing.
 *
 * @throws MigrationError if two migrations have one name, if a name does not end in a timestamp, or if the
 *   table of the record belongs to another tool
 */
export async function migrationStatus(dataSource: DataSource): Promise<MigrationStatus> {
  const known = knownMigrations(dataSource).map(({ name }) => name);
  const runner = dataSource.createQueryRunner('master');
  try {
    const record = new MigrationRecord(dataSource, runner);
    const applied = await record.applied();
    const strange = applied.filter((name) => !known.includes(name));
    // For an application that has only its own migrations, this package counts as another service.
    const isOurs = known.some(isFrameForgeMigration);
    const isNewer = (name: string): boolean => isOurs && isFrameForgeMigration(name);
    return {
      pending: known.filter((name) => !applied.includes(name)),
      applied: applied.filter((name) => known.includes(name)),
      older: isOurs ? olderDifferences(await record.columns(), applied) : [],
      unknown: strange.filter(isNewer),
      others: strange.filter((name) => !isNewer(name)),
    };
  } finally {
    await runner.release();
  }
}
