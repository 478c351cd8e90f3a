import type { DataSource } from 'typeorm';
import { isFrameForgeMigration } from '../schema/migrations/index.js';
import { knownMigrations, MigrationRecord } from './migration.record.js';
import { olderDifferences } from './older.database.js';

/** How the migrations of a database and of a data source compare. */
export interface MigrationStatus {
  /** Known here, not applied yet, in the order in which they will run. */
  readonly pending: readonly string[];
  /** Known here and applied, in the order in which they ran. */
  readonly applied: readonly string[];
  /** Of this package, applied, and unknown here: a newer release was at work. */
  readonly unknown: readonly string[];
  /** The differences between the existing tables and those that the first three migrations make. */
  readonly older: readonly string[];
  /** Applied, and of another service that shares the record. */
  readonly others: readonly string[];
}

/**
 * Compares the migrations of the database with those of the data source, in one round trip; two where
 * the application's own are recorded in a table of their own. Changes nothing.
 *
 * @throws MigrationError if two migrations have one name, a name does not end in a timestamp, or the
 *   table of the record is another tool's
 */
export async function migrationStatus(dataSource: DataSource): Promise<MigrationStatus> {
  const known = knownMigrations(dataSource).map(({ name }) => name);
  const runner = dataSource.createQueryRunner('master');
  try {
    const record = new MigrationRecord(dataSource, runner);
    const applied = await record.applied();
    const strange = applied.filter((name) => !known.includes(name));
    // To an application that has only migrations of its own, this package is another service.
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
