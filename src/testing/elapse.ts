import type { DataSource, EntityManager } from 'typeorm';
import { dataSourceOf } from '../peers/typeorm.internals.js';
import { InvalidInputError } from '../errors.js';
import { frameForgeEntities } from '../schema/entities/index.js';

/**
 * Lets time pass without waiting: makes all times in this package's tables older. Leases and backoffs
 * end, scheduled jobs become due, and finished jobs become old enough for `pruneJobs`. Time differences between rows stay
 * as they are. A worker that runs meanwhile loses its leases, and learns this from the database.
 *
 * @param db - the data source, or the manager of a transaction
 * @param ms - how much older the times become, in milliseconds
 * @throws InvalidInputError unless `ms` is a finite number, 0 or more
 */
export async function elapse(db: DataSource | EntityManager, ms: number): Promise<void> {
  if (!Number.isFinite(ms) || ms < 0) {
    throw new InvalidInputError('elapse', [
      { property: 'ms', message: 'must be a finite number of milliseconds, 0 or more' },
    ]);
  }
  const manager = 'manager' in db ? db.manager : db;
  await manager.transaction(async (transaction) => {
    for (const entity of frameForgeEntities) {
      const { columns, tablePath } = dataSourceOf(manager).getMetadata(entity);
      const escape = (name: string): string => dataSourceOf(manager).driver.escape(name);
      const table = tablePath.split('.').map(escape).join('.');
      const shifted = columns
        .filter(({ type }) => type === 'timestamptz')
        .map(({ databaseName }) => escape(databaseName))
        .map((name) => `${name} = ${name} - make_interval(secs => $1::float8 / 1000)`);
      await transaction.query(`UPDATE ${table} SET ${shifted.join(', ')}`, [ms]);
    }
  });
}
